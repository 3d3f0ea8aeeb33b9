"""Several processes that train together: the same generator and adapter as one, and what stops them stops all."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from composition.errors import Cancelled, CompositionError
from composition.generative import train_generator
from composition.generative.questions import Questions
from composition.generative.replicated import train_replicated
from composition.generative.segments import Batch, Corpus, Documents
from composition.recipes import TrainGeneratorRecipe, TransLoraRecipe
from composition.running.base_models import load_base
from composition.training.parallel import Replicas, deal, launch
from tests.composition.generators import SIZES, SMALL, Numbers, corpus
from tests.stability.margins import at_least, at_most
from tests.transfer import toy
from transfer.adapters import lora_config, trainable
from transfer.distillation import distil
from transfer.parties import Parties

torch.set_num_threads(1)
TARGET = {"target_name": "toy/target@1", "target_id": "toy/target"}


@pytest.mark.parametrize("size", [2, 3, 7])
@pytest.mark.parametrize("stage", ["text", "questions"])
def test_shares_are_the_batch_dealt_out_by_documents(stage, size):
    recipe = TrainGeneratorRecipe(**{**SIZES, **SMALL, "batch_tokens": 96, "stage": stage})
    rows = [{"context": text, "question": f"{n + 3} 4", "answer": "5 6"} for n, text in enumerate(corpus())]
    source = Corpus(Numbers(), corpus(), recipe) if stage == "text" else Questions(Numbers(), rows, recipe)
    batch = source.batch(0)
    shares = [batch.share(Replicas(rank, size)) for rank in range(size)]
    assert sum(share.ids.shape[0] for share in shares) == batch.ids.shape[0]
    assert sorted(told for share in shares for told in learnt_under(share)) == sorted(learnt_under(batch))


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(1, 5))
def test_no_process_has_more_than_another_by_more_than_the_last_it_got(sizes, processes):
    owners = deal(sizes, processes)
    loads = [sum(s for s, owner in zip(sizes, owners, strict=True) if owner == p) for p in range(processes)]
    assert sum(loads) == sum(sizes)
    for p, load in enumerate(loads):
        least = min((s for s, owner in zip(sizes, owners, strict=True) if owner == p), default=0)
        assert load - min(loads) <= least


def learnt_under(batch: Batch) -> list[tuple]:
    """(row, objective, the segments that its adapter is made of), one for each row."""
    return [
        (row.tolist(), int(kind), [ids.tolist() for ids, taken in zip(batch.ids, batch.sums[a], strict=True) if taken])
        for row, kind, a in zip(batch.rows, batch.objectives, batch.adapters, strict=True)
    ]


@pytest.fixture
def base(tmp_path):
    """A folder of a toy base, which processes can load."""
    model, tokenizer = toy.base(0), toy.tokenizer()
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def documents(tmp_path):
    path = tmp_path / "text.jsonl"
    texts = [" ".join(text for text in toy.inputs(12, seed)) for seed in range(8)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return Documents([path])


RECIPE = TrainGeneratorRecipe(
    **{**SIZES, **SMALL, "batch_tokens": 64, "steps": 5, "windows": (8,), "norm": "svd", "distillation": 0.5}
)


@pytest.mark.trained
def test_two_processes_train_the_generator_of_one(base, documents, tmp_path):
    model, tokenizer = toy.base(0), toy.tokenizer()
    alone = train_generator(model, tokenizer, RECIPE, documents, base_model="toy", work=tmp_path / "alone")
    told = []
    made = train_replicated(
        base,
        RECIPE,
        documents,
        processes=2,
        base_model="toy",
        work=tmp_path / "two",
        progress=lambda fraction, message="", **figures: told.append((fraction, figures)),
    )
    apart = max(
        float((getattr(made, part) - getattr(alone, part)).abs().max()) for part in ("A1", "A2", "A3", "B", "norm")
    )
    at_most(apart, 2e-5, "entries of the generator")
    assert [fraction for fraction, _ in told] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    curves = [generator.config.training["curve"] for generator in (made, alone)]
    assert [point["loss"] for point in curves[0]] == pytest.approx([point["loss"] for point in curves[1]], abs=1e-3)
    assert made.config.training["tokens"] == alone.config.training["tokens"]


@pytest.mark.trained
def test_processes_that_are_stopped_keep_their_state_for_any_number_of_them(base, documents, tmp_path):
    def stop(fraction, message="", **figures):
        if fraction >= 0.4:
            raise Cancelled

    given = {"base_model": "toy", "work": tmp_path / "work"}
    with pytest.raises(Cancelled):
        train_replicated(base, RECIPE, documents, processes=2, progress=stop, **given)
    said = []
    model, tokenizer = toy.base(0), toy.tokenizer()
    later = train_generator(
        model, tokenizer, RECIPE, documents, progress=lambda f, message="", **_: said.append(message), **given
    )
    assert said[0].startswith("Taken up again at step")
    alone = train_generator(toy.base(0), tokenizer, RECIPE, documents, base_model="toy", work=tmp_path / "alone")
    apart = max(float((later.A1 - alone.A1).abs().max()), float((later.B - alone.B).abs().max()))
    at_most(apart, 2e-5, "entries of the generator")


def test_a_refusal_in_a_process_is_raised_here():
    with pytest.raises(CompositionError, match="Two documents are needed") as refused:
        launch("tests.composition.replica_tasks:refuses", {}, processes=2)
    assert (refused.value.code, refused.value.facts) == ("train.few_documents", {"documents": 1})


@pytest.mark.slow
def test_a_training_refuses_its_data_in_the_processes_too(base, tmp_path):
    path = tmp_path / "short.jsonl"
    path.write_text(json.dumps({"text": "red cat"}) + "\n")
    with pytest.raises(CompositionError) as refused:
        train_replicated(base, RECIPE, Documents([path]), processes=2, base_model="toy", work=tmp_path / "work")
    assert refused.value.code == "train.few_documents"


def test_a_process_that_dies_ends_all_with_its_last_words():
    with pytest.raises(RuntimeError, match="ended without a result"):
        launch("tests.composition.replica_tasks:dies", {}, processes=2)


@pytest.mark.trained
def test_two_processes_distil_the_adapter_of_one(base, tmp_path):
    rows = toy.rows(24, 1)
    learns = {"epochs": 3, "learning_rate": 1e-2, "target_modules": "all-linear"}
    recipe = TransLoraRecipe(samples=24, batch_size=5, holdout=0.2, rank=4, alpha=8.0, **learns)
    given = {"source": toy.loader(0), "source_adapter": tmp_path, "target": toy.loader(0), "seeds": [], **TARGET}
    one, report = distil(Parties(**given), recipe, rows, work=tmp_path / "one", progress=lambda *_, **__: None)
    parties = Parties(**given, target_folder=base, processes=2)
    two, shared = distil(parties, recipe, rows, work=tmp_path / "two", progress=lambda *_, **__: None)
    expected = load_file(one / "adapter_model.safetensors")
    found = load_file(two / "adapter_model.safetensors")
    at_most(max(float((found[name] - expected[name]).abs().max()) for name in found), 1e-4, "entries of the adapter")
    assert shared["steps"] == report["steps"] and shared["tokens"] == report["tokens"]
    held = [[epoch["loss"] for epoch in told["held_out"]] for told in (report, shared)]
    assert held[0] == pytest.approx(held[1], abs=1e-4)
    at_least(held[0][0] - held[0][-1], 0.0, "nats learnt, held out")


def test_a_base_that_is_partly_elsewhere_answers_and_is_not_trained_on(base):
    parts = ("model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head")
    spread, _ = load_base(base, device_map={**dict.fromkeys(parts, "cpu"), "model.layers.1": "disk"})
    ids = torch.tensor([[3, 4, 5, 6]])
    assert torch.equal(spread(ids).logits, toy.base(0)(ids).logits)
    with pytest.raises(CompositionError) as refused, trainable(spread, lora_config(4, 8.0, "q_proj"), 0):
        pass
    assert refused.value.code == "transfer.memory"
