"""The discriminator: its objective, its rule, what it learns from, and what it must reach."""

import json

import pytest
import torch
from peft import PeftModel

from composition.errors import Cancelled, CompositionError
from composition.recipes import DiscriminatorRecipe
from composition.running.prompting import Prompting
from tests.stability.margins import at_least, at_most
from tests.transfer import toy
from transfer import discriminator as discriminator_module
from transfer.discriminator import Judge, answer_tokens, balanced_order, keeps, train_discriminator
from transfer.stages import folder_digest
from transfer.training import Plan, _Run


def made(adapter, seeds, folder, progress=lambda *_, **__: None, load=None, real=None, **changes):
    return train_discriminator(
        load or toy.loader(0),
        adapter,
        toy.inputs(40, 5) if real is None else real,
        [seed["prompt"] for seed in seeds],
        DiscriminatorRecipe(**toy.DISCRIMINATOR | {"epochs": 1, "least_recall": 0.0} | changes),
        work=folder,
        source_name=toy.NAMES["source"],
        progress=progress,
    )


@pytest.mark.parametrize("chat", [False, True])
def test_the_loss_is_minus_log_p_yes_of_real_and_no_of_invented(chat):
    model, tokenizer = toy.base(0), toy.tokenizer(chat)
    judge = Judge(model, tokenizer, "toy", "main", 64)
    texts = [("red cat sings", True), ("green wolf eats", False), ("grey hen", False)]
    examples = [judge.example(text, real) for text, real in texts]
    run = _Run(model, examples, [], Plan(steps=1, epoch=1, rate=1.0, order=list, rows_at_once=3), None, "", None, 1)
    loss = float(run.loss(examples, len(examples), soft=0.0).detach())
    prompting, wanted = Prompting(tokenizer), 0.0
    for text, real in texts:
        question = f"{text}\nIs the above question from toy dataset?"
        ids = torch.tensor([prompting.prompt(question)])
        word = "yes" if real else "no"
        token = tokenizer(word if chat else f" {word}", add_special_tokens=False)["input_ids"][0]
        with torch.no_grad():
            wanted -= float(model(ids).logits[0, -1].log_softmax(-1)[token]) / len(texts)
    assert loss == pytest.approx(wanted, abs=1e-5)


def test_an_input_is_kept_when_yes_is_likelier_than_no():
    assert keeps((-0.1, -0.2)) and not keeps((-0.2, -0.1)) and not keeps((-0.3, -0.3))
    assert keeps((-9.0, -9.1)), "no threshold: only the two are compared"


def test_batched_verdicts_are_those_of_each_text_alone(discriminator):
    texts = [*toy.inputs(7, 3, 8), "red", "Here are examples the toy dataset red cat sings"]
    model, tokenizer = toy.base(0), toy.tokenizer()
    adapted = PeftModel.from_pretrained(model, str(discriminator.folder)).eval()
    judge = Judge(adapted, tokenizer, "toy", "main", 64)
    for text, verdict in zip(texts, judge.verdicts(texts), strict=True):
        ids = torch.tensor([tokenizer(f"{text}\nIs the above question from toy dataset?")["input_ids"]])
        with torch.no_grad():
            log_p = adapted(ids).logits[0, -1].log_softmax(-1)
        wanted = [float(log_p[tokenizer(word)["input_ids"][0]]) for word in (" yes", " no")]
        assert verdict == pytest.approx(wanted, abs=1e-4)


def test_it_knows_real_inputs_and_says_so(discriminator, adapter):
    facts = discriminator.facts
    at_least(facts["recall"], 0.9, "recall, of 24")
    assert facts["counts"]["real"] == {"train": 96, "held_out": 24}
    assert facts["task"] == "toy" and facts["question"] == "main"
    assert facts["source_adapter"] == folder_digest(adapter) != folder_digest(discriminator.folder)
    adapted = PeftModel.from_pretrained(toy.base(0), str(discriminator.folder)).eval()
    verdicts = Judge(adapted, toy.tokenizer(), "toy", "main", 64).verdicts(toy.inputs(288, 0, len(toy.COLOURS)))
    foreign = [
        yes - no
        for (yes, no), text in zip(verdicts, toy.inputs(288, 0, len(toy.COLOURS)), strict=True)
        if text.split()[0] not in toy.COLOURS[: toy.REAL]
    ]
    at_most(max(foreign), 0.0, "log p(yes) − log p(no) of the likeliest foreign input")
    fooled = facts["examples"]["invented_taken_for_real"]
    assert all(text.split()[0] in toy.COLOURS[: toy.REAL] for text in fooled), "what it takes for real is like it"
    config = json.loads((discriminator.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == toy.NAMES["source"]
    json.dumps(facts)


def test_negatives_come_from_the_source_base_without_its_adapter(adapter, seeds, tmp_path):
    calls = []

    def source():
        model, tokenizer = toy.base(0), toy.tokenizer()
        calls.append(model)
        return model, tokenizer

    stages = []
    made(adapter, seeds, tmp_path, lambda *_, **figures: stages.append(figures.get("stage")), load=source)
    assert [stage for n, stage in enumerate(stages) if stage and stage not in stages[:n]] == [
        "synthesis",
        "discriminator",
        "measuring",
    ]
    stream = json.loads((tmp_path / "negatives.json").read_text())["state"]
    assert {text.split()[0] for text in stream["texts"]} - set(toy.COLOURS[: toy.REAL]), "the bare base's colours"
    assert not any(hasattr(model, "peft_config") for model in calls)


def test_below_the_least_recall_it_is_refused_with_the_figure_and_what_to_do(adapter, seeds, tmp_path, monkeypatch):
    measured = discriminator_module._measure
    monkeypatch.setattr(discriminator_module, "_measure", lambda *args: measured(*args) | {"recall": 0.625})
    with pytest.raises(CompositionError, match=r"only 62% of 8 .* at least 63% is required") as caught:
        made(adapter, seeds, tmp_path, steps=1, least_recall=0.63, learning_rate=1e-6)
    assert caught.value.code == "discriminator.recall" and caught.value.facts["recall"] == 0.625
    kept = made(adapter, seeds, tmp_path, load=lambda: 1 / 0, steps=1, least_recall=0.625, learning_rate=1e-6)
    assert kept.facts["recall"] == 0.625


@pytest.mark.parametrize("stop_at", [1, 4, 9, 14])
def test_a_killed_run_ends_with_the_same_bytes(adapter, seeds, tmp_path, stop_at):
    whole = made(adapter, seeds, tmp_path / "whole")
    calls = []

    def stop(*_, **__):
        calls.append(1)
        if len(calls) == stop_at:
            raise Cancelled

    with pytest.raises(Cancelled):
        made(adapter, seeds, tmp_path / "cut", stop)
    again = made(adapter, seeds, tmp_path / "cut")
    assert folder_digest(again.folder) == folder_digest(whole.folder)
    assert again.facts["recall"] == whole.facts["recall"]


def test_every_batch_is_half_real_and_every_row_has_its_turn():
    recipe = DiscriminatorRecipe(batch_size=6)
    each, epoch, order = balanced_order(10, 4, recipe)
    assert (each, epoch) == (3, 4)
    rows = [order(step) for step in range(8)]
    assert all(sum(row < 10 for row in batch) == 3 for batch in rows)
    flat = [row for batch in rows for row in batch if row < 10]
    assert sorted(flat[:10]) == list(range(10)) and sorted(flat[10:20]) == list(range(10))
    assert {row for batch in rows for row in batch} == set(range(14))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"real": ["red cat sings"] * 50}, "discriminator.too_few_real"),
        ({"real": toy.inputs(15)}, "discriminator.too_few_real"),
        ({"max_new_tokens": 4, "task": "toy", "temperature": 0.05, "top_p": 0.05, "max_candidates": 1.0}, None),
        ({"target_modules": "nothing"}, "transfer.targets"),
    ],
)
def test_bad_input_is_refused_and_the_base_left_alone(adapter, seeds, tmp_path, changes, code):
    model = toy.base(0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        made(adapter, seeds, tmp_path, load=lambda: (model, toy.tokenizer()), **changes)
    except CompositionError as error:
        assert error.code == code or code is None
    else:
        assert code is None
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_tokenizer_that_cannot_tell_yes_from_no_is_refused():
    class Same:
        chat_template, eos_token_id = None, 0

        def __call__(self, text, add_special_tokens=True):
            return {"input_ids": [7]}

    with pytest.raises(CompositionError, match="token-score"):
        answer_tokens(Prompting(Same()))


def test_a_long_input_is_cut_and_the_question_stays():
    judge = Judge(toy.base(0), toy.tokenizer(), "toy", "appendix", 40)
    ids = judge.ids("red " * 300)
    assert len(ids) <= 40
    assert toy.tokenizer().decode(ids).endswith("?")
