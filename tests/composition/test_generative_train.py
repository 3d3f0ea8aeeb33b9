"""Training: what learns and what stays, what a kill loses (nothing), and which rows the 16-segment mask gives."""

import json
from dataclasses import replace

import pytest
import torch

from composition.errors import Cancelled, CompositionError, RecipeError
from composition.formats.generator.files import validate_generator
from composition.formats.sources import local_files
from composition.generative import train
from composition.generative.files import load_generator, save_generator
from composition.generative.generate import generate
from composition.generative.loss import losses
from composition.generative.measure import gap, held_out
from composition.generative.segments import COMPLETE, RECONSTRUCT, Batch, Corpus, Documents, build, seeded
from composition.generative.train import kept_generator, train_generator
from composition.recipes import GenerateRecipe, TrainGeneratorRecipe
from tests.composition.generators import SIZES, SMALL, Numbers, corpus, pico_generator, text
from tests.pico import BASE, pico_llama
from tests.stability.margins import at_least, at_most

torch.set_num_threads(1)


def trained(work, data=None, base=None, progress=train.ignore, start=None, save_every=1e9, **recipe):
    return train_generator(
        base or pico_llama(),
        Numbers(),
        TrainGeneratorRecipe(**{**SIZES, **SMALL, **recipe}),
        corpus() if data is None else data,
        base_model=BASE,
        work=work,
        start=start,
        progress=progress,
        save_every=save_every,
    )


@pytest.mark.trained
def test_only_the_generator_learns_and_the_base_is_left_as_it_was(tmp_path):
    base = pico_llama()
    base.model.layers[0].mlp.requires_grad_(False)
    before = {name: (p.clone(), p.requires_grad) for name, p in base.named_parameters()}
    generator = trained(tmp_path, base=base)
    for name, parameter in base.named_parameters():
        assert parameter.equal(before[name][0]) and parameter.requires_grad == before[name][1]
        assert parameter.grad is None
    fresh = trained(tmp_path / "b", base=base, steps=1, learning_rate=1e-8)
    for part in ("A1", "A2", "A3", "B"):
        at_least((getattr(generator, part) - getattr(fresh, part)).abs().max(), 1e-4, f"{part} has learnt")


@pytest.mark.trained
def test_it_learns_what_stands_in_the_text_and_not_only_the_domain(tmp_path):
    """An aligned start gains 0.01 to 0.03 nats by itself; a random one finds nothing in so few steps, on most seeds."""
    sizes = {"inner": 24, "r": 24, "rank": 24, "alpha": 24.0, "norm": "polar", "shift": 1, "start": "aligned"}
    more = {"steps": 80, "batch_tokens": 96, "learning_rate": 3e-3, "measure_every": 1000}
    recipe = TrainGeneratorRecipe(**{**SIZES, **SMALL, **sizes, **more})
    generator = train_generator(pico_llama(), Numbers(), recipe, corpus(40), base_model=BASE, work=tmp_path)
    documents = [Numbers()(words)["input_ids"] for words in corpus(48)[40:]]
    rows = held_out(pico_llama(), generator, documents, 8, continuation=8)
    for name, row in rows.items():
        at_least(row["other"] - row["own"], 0.05, f"nats that the text's own adapter gains, {name}")


@pytest.mark.parametrize("save_every", [0.0, 1e9])
@pytest.mark.parametrize("more", [{}, {"norm": "frobenius", "objective": "completion"}, {"shift": 1, "first_layer": 1}])
def test_a_killed_run_ends_with_the_same_bytes(more, save_every, tmp_path):
    save_generator(trained(tmp_path / "whole", **more), tmp_path / "a", dtype=torch.float32)
    seen = []

    def stop_at_four(fraction, message="", **figures):
        seen.append(message)
        if len(seen) == 4:
            raise Cancelled

    with pytest.raises(Cancelled):
        trained(tmp_path / "cut", progress=stop_at_four, save_every=save_every, **more)
    told = []
    again = trained(tmp_path / "cut", progress=lambda f, m="", **_: told.append(m), **more)
    assert told[0] == "Taken up again at step 4" and len(told) == 1 + 2
    save_generator(again, tmp_path / "b", dtype=torch.float32)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("spoil", ["recipe", "data"])
def test_a_state_of_another_run_is_left_aside(spoil, tmp_path):
    trained(tmp_path)
    told = []
    more = {"steps": 7} if spoil == "recipe" else {"data": corpus(9)}
    trained(tmp_path, progress=lambda f, m="", **_: told.append(m), **more)
    assert told[0].startswith("Step 1 of")


def test_rows_of_a_batch_are_the_published_mask():
    base, generator = pico_llama(), pico_generator()
    document = torch.arange(3, 27).view(3, 8)
    batch = build([document, document.flip(1)], seeded("x"))
    assert batch.objectives.tolist().count(RECONSTRUCT) == 6 and batch.objectives.tolist().count(COMPLETE) == 4
    with torch.no_grad():
        figures = losses(base, generator, batch)
        slow = {"reconstruction": [], "completion": []}
        from composition.generative.measure import context_state, loss

        for row, which, objective in zip(batch.rows, batch.adapters.tolist(), batch.objectives.tolist(), strict=True):
            doc = document if which < 3 else document.flip(1)
            context = doc[: which % 3 + 1].flatten()
            state = context_state(base, generator, context, 8)
            name = "reconstruction" if objective == RECONSTRUCT else "completion"
            slow[name].append(loss(base, generator, state, row, 1))
            if objective == COMPLETE:
                assert row.equal(doc[which % 3 + 1])
            else:
                flat = context.tolist()
                assert any(flat[i : i + 8] == row.tolist() for i in range(len(flat) - 7))
    for name, values in slow.items():
        assert figures[name] == pytest.approx(sum(values) / len(values), abs=1e-4)
    assert figures["loss"] == pytest.approx(figures["reconstruction"] + figures["completion"], abs=1e-4)


def test_gradients_reach_every_part_through_the_state():
    generator = pico_generator().requires_grad_(True)
    losses(pico_llama(), generator, build([torch.arange(3, 35).view(4, 8)], seeded("x")), learn=True)
    for part in ("A1", "A2", "A3", "B", "norm"):
        assert (getattr(generator, part).grad.abs().amax(dim=tuple(range(1, getattr(generator, part).dim()))) > 0).all()


def test_batches_follow_from_seed_and_step(tmp_path):
    recipe = TrainGeneratorRecipe(**{**SMALL, "windows": (8, 16)})
    one, other = (Corpus(Numbers(), corpus(), recipe) for _ in "ab")
    assert one.batch(3).rows.equal(other.batch(3).rows) and not one.batch(2).rows.equal(one.batch(4).rows)
    assert (one.batch(0).ids.shape[1], one.batch(1).ids.shape[1]) == (8, 16)
    assert all(batch.ids.numel() <= 32 for batch in map(one.batch, range(8)))
    assert set(one.held).isdisjoint(one.kept) and len(one.held) == 2
    further = Corpus(Numbers(), corpus(), replace(recipe, seed=5))
    assert not further.batch(0).rows.equal(one.batch(0).rows)
    for seed in range(1, 6):
        held = Corpus(Numbers(), corpus(), replace(recipe, seed=seed)).held
        assert held == one.held, "a training that goes on under another seed must not have seen them"


def test_documents_are_read_from_the_disk_when_they_are_asked_for(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": words}) + "\n" for words in corpus()))
    documents = Documents([path, path])
    assert len(documents) == 16 and documents[9] == corpus()[1] and documents[:2] == corpus()[:2]
    path.write_text(json.dumps({"words": 1}) + "\n")
    with pytest.raises(CompositionError, match="key text"):
        Documents([path])[0]


@pytest.mark.trained
def test_answers_are_learnt_from_contexts(tmp_path):
    rows = [{"context": text(20, i), "question": text(3, i), "answer": text(2, i)} for i in range(6)]
    start = pico_generator()
    figures = []
    more = {"stage": "questions", "batch_tokens": 48, "holdout": 0, "learning_rate": 1e-2, "steps": 200, "shift": 0}
    trained(tmp_path, rows, start=start, progress=lambda f, m="", **told: figures.append(told), **more)
    at_least(figures[0]["completion"] - figures[-1]["completion"], 0.3, "nats learnt")
    with pytest.raises(CompositionError) as caught:
        trained(tmp_path / "b", rows, **more)
    assert caught.value.code == "train.no_start"
    with pytest.raises(CompositionError) as caught:
        trained(tmp_path / "c", [{"context": "3 4"}], start=start, **more)
    assert caught.value.code == "train.row"


@pytest.mark.parametrize(
    ("data", "more", "code"),
    [
        (corpus(2), {}, "train.few_documents"),
        (["3 4 5"] * 8, {}, "train.short_documents"),
        (corpus(), {"first_layer": 2}, "generator.base_layers"),
    ],
)
def test_bad_data_is_refused(data, more, code, tmp_path):
    with pytest.raises(CompositionError) as caught:
        trained(tmp_path, data, **more)
    assert caught.value.code == code


def test_a_loss_that_bursts_says_so(tmp_path):
    base = pico_llama()
    base.lm_head.weight.data.fill_(float("inf"))
    with pytest.raises(CompositionError, match="Lower the learning rate"):
        trained(tmp_path, base=base)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("rank", {"rank": 97}),
        ("norm", {"norm": "polar", "rank": 32}),
        ("windows", {"windows": (8.5,)}),
        ("batch_tokens", {"windows": (512,)}),
    ],
)
def test_recipes_refuse_sizes_that_do_not_go_together(field, values):
    with pytest.raises(RecipeError) as caught:
        TrainGeneratorRecipe(**values)
    assert caught.value.field == field


@pytest.mark.trained
def test_low_precision_and_checkpointing_change_little_and_leave_nothing_behind(tmp_path):
    base = pico_llama()
    plain = trained(tmp_path / "a", base=base)
    for number, more in enumerate([{"gradient_checkpointing": True}, {"precision": "bfloat16"}]):
        other = trained(tmp_path / str(number), base=base, **more)
        close = 1e-5 if number == 0 else 0.1
        at_most((plain.B - other.B).abs().max(), close, f"B with {next(iter(more))}")
        assert base.dtype == torch.float32 and not base.is_gradient_checkpointing
        assert not any(module.training for module in base.modules())


def test_figures_by_progress(tmp_path):
    told = []
    generator = trained(tmp_path, corpus(8, 120), progress=lambda f, m="", **figures: told.append(figures))
    assert {"loss", "reconstruction", "completion", "tokens"} <= told[0].keys()
    assert {"gap_reconstruction", "gap_completion"} <= told[-1].keys()
    record = generator.config.training
    assert record["steps"] == 6 and record["tokens"] == told[-1]["tokens"] and record["curve"][-1]["step"] == 6
    assert gap({"other": 3.0, "own": 2.5, "ceiling": 2.0}) == 0.5 and gap({"other": 1.0, "own": 0, "ceiling": 2}) == 0


def test_a_stopped_run_can_be_looked_at(tmp_path):
    told = []

    def stop(fraction, message="", **figures):
        told.append(figures)
        if message.startswith("Step 2"):
            raise Cancelled

    recipe = TrainGeneratorRecipe(**{**SIZES, **SMALL})
    with pytest.raises(CompositionError) as caught:
        kept_generator(tmp_path, pico_llama(), recipe, BASE)
    assert caught.value.code == "train.nothing_kept"
    with pytest.raises(Cancelled):
        trained(tmp_path, progress=stop)
    kept = kept_generator(tmp_path, pico_llama(), recipe, BASE)
    assert kept.config.training["steps"] == 2 and kept.config.training["tokens"] == told[-1]["tokens"]
    assert kept.B.abs().max() > 0 and not trained(tmp_path).B.equal(kept.B)


def test_only_upper_layers_are_adapted_where_that_is_asked_for(tmp_path):
    generator = trained(tmp_path, first_layer=1)
    result = generate(pico_llama(), Numbers(), generator, text(8), GenerateRecipe())
    assert list(result.weights) == ["model.layers.1.self_attn.o_proj"] and result.weights.target_modules is None


def test_a_generator_comes_back_from_its_folder(tmp_path):
    generator = pico_generator()
    save_generator(generator, tmp_path, dtype=torch.float32)
    again = load_generator(tmp_path)
    assert again.digest() == generator.digest() and again.config == generator.config
    assert "GenerativeAdapter" in (tmp_path / "README.md").read_text()
    assert isinstance(build([torch.arange(16).view(2, 8)], seeded("y")), Batch)
    assert replace(generator.config, rank=5).adapter_rank == 5


def test_a_generator_learns_on_from_another_and_tells_of_both_trainings(tmp_path):
    first = trained(tmp_path / "a", steps=2)
    second = trained(tmp_path / "b", start=first, steps=1, seed=1, learning_rate=1e-8)
    for part in ("A1", "A2", "A3", "B"):
        assert (getattr(second, part) - getattr(first, part)).abs().max() < 1e-6, "it begins where the first ended"
    assert second.config.training["before"] == first.config.training
    recipe = TrainGeneratorRecipe(**{**SIZES, **SMALL, "steps": 1, "seed": 1, "learning_rate": 1e-8})
    left = kept_generator(tmp_path / "b", pico_llama(), recipe, BASE, first)
    assert left.config.training["before"] == first.config.training, "also of a run that was stopped"
    save_generator(second, tmp_path / "made")
    card = (tmp_path / "made" / "README.md").read_text()
    assert "tokens in 1 steps" in card and "before that on" in card
    facts = validate_generator(local_files(tmp_path / "made"))
    assert facts.training["steps"] == 1 and facts.training["before"]["steps"] == 2
    assert "curve" not in json.dumps(facts.training), "the points stay in the file"
