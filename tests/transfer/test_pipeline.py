"""The whole chain on pico models: stages in their order, rejection until N, kills that cost nothing, bad input."""

import json
from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from composition.errors import Cancelled, CompositionError
from composition.formats import read_adapter
from composition.recipes import EvaluateRecipe, TransLoraRecipe
from composition.recipes.transfer import PEFT_TYPES
from composition.running.evaluation import evaluate
from tests.stability.margins import at_least, at_most
from tests.transfer import toy
from transfer import filtering, synthesis
from transfer.pipeline import Parties, transfer
from transfer.stages import folder_digest
from transfer.token_score import mean_score


@pytest.fixture
def parties(adapter, seeds, discriminator):
    return Parties(
        source=toy.loader(0),
        source_adapter=adapter,
        target=toy.loader(1),
        seeds=seeds,
        source_name=toy.NAMES["source"],
        target_name=toy.NAMES["target"],
        discriminator=discriminator.folder,
        discriminator_facts=discriminator.facts,
    )


def recipe(**changes):
    return TransLoraRecipe(**toy.TRANSFER | changes)


def test_a_transfer_teaches_the_target_the_task(parties, tmp_path):
    test, measure = toy.rows(40, 11), EvaluateRecipe(metrics=("exact_match",), max_new_tokens=3)

    def score(model):
        return evaluate(model, toy.tokenizer(), test, measure).metrics["exact_match"]

    options = recipe(samples=90, epochs=20, rank=8, learning_rate=1e-2, target_modules="all-linear", holdout=0.0)
    result = transfer(parties, options, work=tmp_path)
    taught = score(PeftModel.from_pretrained(toy.base(1), str(result.folder)).eval())
    at_most(score(toy.base(1)), 0.6, "bare target")
    at_least(taught, 0.9, "taught target")
    assert read_adapter(result.folder).base_model == toy.NAMES["target"]
    json.dumps(result.report)


def test_stages_come_in_the_published_order_and_each_asks_its_own_base(parties, tmp_path):
    calls, stages = [], []

    def asked(which, seed):
        def load():
            calls.append((which, stages[-1] if stages else None))
            return toy.base(seed), toy.tokenizer()

        return load

    def watch(fraction, message="", **figures):
        stages.append(figures["stage"])

    parties = replace(parties, source=asked("source", 0), target=asked("target", 1))
    result = transfer(parties, recipe(), work=tmp_path, progress=watch)
    assert list(dict.fromkeys(stages)) == ["synthesis", "filter", "labelling", "distillation"]
    assert calls[0] == ("target", None) and calls[-1][0] == "target"
    assert {which for which, _ in calls[1:-1]} >= {"source"}
    labelled = calls.index(("source", "filter")) if ("source", "filter") in calls else len(calls)
    assert labelled, "the teacher answers after the filter has kept what it keeps"
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert rows == result.rows and len(rows) == 24
    assert set(rows[0]) == {"prompt", "completion"}


def test_the_generator_is_the_target_unless_another_is_named(parties, tmp_path):
    for name, changes, who in (
        ("target", {}, 1),
        ("source", {"synthesiser": "source"}, 0),
    ):
        calls = []
        loaders = {"source": toy.loader(0, calls=calls), "target": toy.loader(1, calls=calls)}
        transfer(replace(parties, **loaders), recipe(**changes), work=tmp_path / name)
        assert calls[0] == who
    calls = []
    other = replace(parties, synthesiser=toy.loader(5, calls=calls), synthesiser_name="toy/other@1")
    transfer(other, recipe(), work=tmp_path / "other")
    assert set(calls) == {5}


def slow_rejection(texts, verdicts, wanted):
    kept = []
    for text, (yes, no) in zip(texts, verdicts, strict=False):
        if yes > no and len(kept) < wanted:
            kept.append(text)
    return kept


@pytest.mark.parametrize("batch", [4, 8, 64])
def test_rejection_goes_on_until_n_are_kept_and_keeps_the_first(parties, tmp_path, batch):
    result = transfer(parties, recipe(samples=30, labelling_batch=batch), work=tmp_path)
    stream = json.loads((tmp_path / "candidates.json").read_text())["state"]["texts"]
    verdicts = json.loads((tmp_path / "verdicts.json").read_text())["state"]["verdicts"]
    kept = slow_rejection(stream, verdicts, 30)
    assert [row["prompt"] for row in result.rows] == kept and len(kept) == 30
    part = result.report["filter"]
    assert part["judged"] == stream.index(kept[-1]) + 1
    assert part["kept"] + part["rejected"] == part["judged"]
    assert part["acceptance"] == pytest.approx(30 / part["judged"], abs=1e-4)
    colours = {row["prompt"].split()[0] for row in result.rows}
    assert colours <= set(toy.COLOURS[: toy.REAL]), "what is kept looks real"
    assert {text.split()[0] for text in part["examples"]["rejected"]} - set(toy.COLOURS[: toy.REAL])


def test_how_the_rounds_fall_changes_nothing(parties, tmp_path, monkeypatch):
    one = transfer(parties, recipe(), work=tmp_path / "one")
    monkeypatch.setattr(filtering.DiscriminatorFilter, "_goal", lambda self, kept: len(self.verdicts) + 8)
    two = transfer(parties, recipe(), work=tmp_path / "two")
    assert one.rows == two.rows and folder_digest(one.folder) == folder_digest(two.folder)


@pytest.mark.parametrize("kind", ["discriminator", "token-score", "none"])
@pytest.mark.parametrize("stop_at", [1, 3, 6, 9, 12])
def test_a_run_stopped_anywhere_ends_with_the_same_bytes(parties, tmp_path, kind, stop_at):
    options = recipe(filter=kind, epochs=3)
    whole = transfer(parties, options, work=tmp_path / "whole")
    calls = []

    def stop(*_, **__):
        calls.append(1)
        if len(calls) == stop_at:
            raise Cancelled

    with pytest.raises(Cancelled):
        transfer(parties, options, work=tmp_path / "cut", progress=stop)
    again = transfer(parties, options, work=tmp_path / "cut")
    assert folder_digest(again.folder) == folder_digest(whole.folder)
    assert again.rows == whole.rows
    curves = [result.report["distillation"]["curve"] for result in (whole, again)]
    assert curves[0] == curves[1]


def test_a_finished_transfer_is_found_again_without_a_base(parties, tmp_path):
    first = transfer(parties, recipe(holdout=0.0), work=tmp_path)
    nobody = replace(parties, source=lambda: 1 / 0, target=lambda: 1 / 0)
    again = transfer(nobody, recipe(holdout=0.0), work=tmp_path)
    assert again.folder == first.folder and again.rows == first.rows
    longer = transfer(replace(parties, source=lambda: 1 / 0), recipe(epochs=3, holdout=0.0), work=tmp_path)
    assert folder_digest(longer.folder) != folder_digest(first.folder), "other epochs, the same samples"


def test_arms_share_one_synthesis(parties, tmp_path, monkeypatch):
    transfer(parties, recipe(), work=tmp_path)
    monkeypatch.setattr(synthesis.Candidates, "_batch", lambda *_: pytest.fail("invented anew"))
    result = transfer(parties, recipe(filter="none"), work=tmp_path)
    stream = json.loads((tmp_path / "candidates.json").read_text())["state"]["texts"]
    assert [row["prompt"] for row in result.rows] == stream[:24]


def test_token_score_answers_more_and_keeps_the_best(parties, tmp_path):
    alone = replace(parties, discriminator=None, discriminator_facts={})
    result = transfer(alone, recipe(filter="token-score", oversample=3.0, token_share=0.5), work=tmp_path)
    rows = json.loads((tmp_path / "scored_labels.json").read_text())["state"]["rows"]
    assert len(rows) == 72 and len(result.rows) == 24
    kept = {row["prompt"] for row in result.rows}
    for name in ("home", "wild"):
        scores = {r["prompt"]: mean_score(r["scores"]) for r in rows if r["completion"] == name}
        ours = [score for prompt, score in scores.items() if prompt in kept]
        assert sorted(ours, reverse=True) == sorted(scores.values(), reverse=True)[: len(ours)]
    assert all("scores" not in row for row in result.rows)


def test_bases_are_left_as_they_were(parties, tmp_path):
    bases = [toy.base(0), toy.base(1)]
    before = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in bases]
    held = replace(parties, source=lambda: (bases[0], toy.tokenizer()), target=lambda: (bases[1], toy.tokenizer()))
    transfer(held, recipe(), work=tmp_path)
    for model, tensors in zip(bases, before, strict=True):
        assert all(tensor.equal(tensors[name]) for name, tensor in model.state_dict().items())
        assert all(p.requires_grad for p in model.parameters()) and not model.training
        assert not hasattr(model, "peft_config")


@pytest.mark.parametrize("kind", PEFT_TYPES)
def test_the_target_gets_any_adapter_type_the_recipe_names(parties, tmp_path, kind):
    options = recipe(filter="none", peft_type=kind, samples=16, epochs=1, holdout=0.0)  # else no epoch may be the best
    result = transfer(parties, options, work=tmp_path)
    model = PeftModel.from_pretrained(toy.base(1), str(result.folder)).eval()
    ids = torch.tensor([toy.tokenizer()("red cat sings")["input_ids"]])
    with torch.no_grad():
        at_least((model(ids).logits - toy.base(1)(ids).logits).abs().max(), 1e-4, "it has learnt something")
    again = transfer(parties, options, work=tmp_path / "again")
    assert folder_digest(again.folder) == folder_digest(result.folder)


@pytest.mark.parametrize("chat", [False, True])
def test_tokenizers_with_and_without_a_chat_template_work(parties, tmp_path, chat):
    plain = replace(parties, target=toy.loader(1, chat))
    assert len(transfer(plain, recipe(filter="none"), work=tmp_path).rows) == 24


def test_gradient_checkpointing_and_small_passes_give_the_same_update(parties, tmp_path):
    options = {"filter": "none", "samples": 16, "epochs": 1}
    plain = transfer(parties, recipe(**options), work=tmp_path / "a")
    saving = transfer(parties, recipe(**options, gradient_checkpointing=True, micro_batch="2"), work=tmp_path / "b")
    one, other = (read_adapter(result.folder) for result in (plain, saving))
    assert saving.report["distillation"]["rows_at_once"] == 2
    apart = max(float((one[module].delta() - other[module].delta()).abs().max()) for module in one)
    at_most(apart, 2e-4, "entries of ΔW")


def test_soft_targets_are_the_cross_entropy_to_the_teachers_distribution(parties, tmp_path):
    plain = transfer(parties, recipe(filter="none", holdout=0.0), work=tmp_path / "a")
    options = recipe(filter="none", soft_targets=0.5, holdout=0.0)  # else both may keep the epoch before the first
    soft = transfer(parties, options, work=tmp_path / "b")
    assert soft.rows == plain.rows and folder_digest(soft.folder) != folder_digest(plain.folder)
    again = transfer(parties, options, work=tmp_path / "b")
    assert folder_digest(again.folder) == folder_digest(soft.folder)
    other = replace(parties, target=toy.loader(1, chat=True))
    with pytest.raises(CompositionError, match="soft_targets=0") as caught:
        transfer(other, recipe(filter="none", soft_targets=0.5), work=tmp_path / "c")
    assert caught.value.code == "transfer.tokenizers_differ"


class Mute:
    """A generator that never writes an item."""

    def __init__(self, text):
        self.text = text

    def __call__(self, model, prompting, prompt, rows, **_):
        return [prompting.tokenizer(self.text)["input_ids"] for _ in range(rows)]


@pytest.mark.parametrize(("text", "word"), [("cat cat cat", "could not be read"), (" red cat sings\n", "repeated")])
def test_a_generator_that_yields_nothing_stops_with_the_reason(parties, tmp_path, monkeypatch, text, word):
    monkeypatch.setattr(synthesis, "sample", Mute(text))
    one = replace(parties, seeds=[{"prompt": "red cat sings", "completion": "home"}] * 5)
    with pytest.raises(CompositionError, match=word) as caught:
        transfer(one, recipe(), work=tmp_path)
    assert caught.value.code == "transfer.no_inputs"
    assert caught.value.facts["tries"] == synthesis.DRY_BATCHES * 16


def test_a_generator_that_dries_up_goes_on_with_what_it_has_and_says_so(parties, tmp_path, monkeypatch):
    original, count = synthesis.sample, []

    def dries(*args, **more):
        count.append(1)
        return original(*args, **more) if len(count) < 3 else Mute("cat")(*args, **more)

    monkeypatch.setattr(synthesis, "sample", dries)
    result = transfer(parties, recipe(samples=200), work=tmp_path)
    assert 0 < len(result.rows) < 200
    assert f"Only {len(result.rows)} of 200 samples: nothing new" in " ".join(result.report["warnings"])


def test_the_cap_on_candidates_ends_the_search(parties, tmp_path):
    result = transfer(parties, recipe(samples=24, max_candidates=1.0), work=tmp_path)
    assert len(result.rows) < 24 and result.report["synthesis"]["tries"] == 32
    assert "the most allowed" in result.report["warnings"][0]


def test_seeds_that_do_not_fit_are_told_by_the_discriminator(parties, tmp_path):
    foreign = [{"prompt": f"{colour} cat sings"} for colour in toy.COLOURS[toy.REAL :]]
    with pytest.raises(CompositionError, match="takes none of the 4 seeds") as caught:
        transfer(replace(parties, seeds=foreign), recipe(), work=tmp_path)
    assert caught.value.code == "transfer.seeds_unfit"
    mixed = [*foreign[:1], *parties.seeds]
    result = transfer(replace(parties, seeds=mixed), recipe(), work=tmp_path)
    assert "takes 1 of 6 seeds for foreign" in " ".join(result.report["warnings"])


def wide():
    """A base of another width."""
    return toy.blank(3, hidden_size=64), toy.tokenizer()


@pytest.mark.parametrize(
    ("changes", "options", "code"),
    [
        ({"seeds": []}, {}, "transfer.no_seeds"),
        ({"seeds": [{"prompt": "  "}]}, {}, "transfer.seed"),
        ({"seeds": [{"completion": "x"}]}, {}, "transfer.seed"),
        ({"discriminator": None}, {}, "transfer.no_discriminator"),
        ({}, {"target_modules": "nothing"}, "transfer.targets"),
        ({}, {"max_new_tokens": 4096}, "transfer.too_long"),
        ({}, {"answer_tokens": 4096, "filter": "none"}, "transfer.too_long"),
        (
            {"source": lambda: (toy.blank(3, hidden_size=64), toy.tokenizer())},
            {"filter": "none"},
            "adapter.does_not_load",
        ),
        ({"source": lambda: (toy.blank(3, hidden_size=64), toy.tokenizer())}, {}, "adapter.does_not_load"),
        ({"seeds": [{"prompt": "red cat sings", "completion": "zoo"}]}, {"filter": "none"}, "transfer.starved"),
    ],
)
def test_bad_input_is_refused_by_name_and_what_was_made_stays(parties, tmp_path, changes, options, code):
    with pytest.raises(CompositionError) as caught:
        transfer(replace(parties, **changes), recipe(**options), work=tmp_path)
    assert caught.value.code == code
    if code in ("transfer.targets", "transfer.starved"):
        assert (tmp_path / "candidates.json").is_file() and (tmp_path / "labels.json").is_file()
    assert not list(tmp_path.glob("adapter-*"))


def test_progress_never_falls_back_and_shows_examples(parties, tmp_path):
    told = []
    transfer(parties, recipe(), work=tmp_path, progress=lambda f, m="", **figures: told.append((f, figures)))
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    judged = [figures for _, figures in told if figures["stage"] == "filter"][-1]
    assert judged["kept"] == 24 and judged["rejected"] > 0 and judged["examples"]
    assert any("loss" in figures for _, figures in told if figures["stage"] == "distillation")
