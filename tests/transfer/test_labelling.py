"""The teacher's answers, their scores and their classes."""

import pytest
import torch

from composition.errors import CompositionError
from composition.running.base_models import adapter_attached
from composition.running.prompting import Prompting
from tests.transfer import toy
from transfer.classes import check_classes, class_counts, quotas
from transfer.labelling import Labels, usable
from transfer.token_score import best_samples, span_scores, token_mask

pytestmark = pytest.mark.trained


def labels(adapter, texts, folder, *, chat=False, scored=False, batch=5, answer_tokens=4, load=None):
    load = load or toy.loader(0, chat)
    return Labels(load, adapter, "toy/source", texts, answer_tokens=answer_tokens, batch=batch, scored=scored,
                  key="a", path=folder / "labels.json")  # fmt: skip


def one_by_one(adapter, texts, chat, new_tokens):
    """Greedy, a row at a time, without a cache."""
    model, tokenizer = toy.base(0), toy.tokenizer(chat)
    prompting, answers = Prompting(tokenizer), []
    with adapter_attached(model, adapter) as teacher, torch.no_grad():
        for text in texts:
            ids = prompting.prompt(text)
            start = len(ids)
            while len(ids) - start < new_tokens:
                ids.append(int(teacher(torch.tensor([ids])).logits[0, -1].argmax()))
                if ids[-1] == 2:
                    break
            answers.append(ids[start:])
    return answers


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("new_tokens", [1, 4])
def test_batched_answers_are_the_greedy_ones_of_each_row(adapter, tmp_path, chat, new_tokens):
    texts = [*toy.inputs(11, 4), "red", "Here are examples\nred cat sings"]
    rows, figures = labels(adapter, texts, tmp_path, chat=chat, answer_tokens=new_tokens).run()
    alone = one_by_one(adapter, texts, chat, new_tokens)
    tokenizer = toy.tokenizer()
    assert [row["prompt"] for row in rows] == texts
    assert [row["completion"] for row in rows] == [tokenizer.decode(a, skip_special_tokens=True).strip() for a in alone]
    assert [bool(row.get("cut")) for row in rows] == [answer[-1] != 2 for answer in alone]
    assert figures["tokens"] == sum(map(len, alone))


def test_answers_are_right_and_a_finished_run_loads_nothing(adapter, tmp_path):
    texts = [row["prompt"] for row in toy.rows(20, 8)]
    calls = []
    rows, _ = labels(adapter, texts, tmp_path, load=toy.loader(0, calls=calls)).run()
    assert sum(row["completion"] == toy.ANIMALS[row["prompt"].split()[1]] for row in rows) >= 19
    again, _ = labels(adapter, texts, tmp_path, load=toy.loader(0, calls=calls)).run()
    assert again == rows and calls == [0]


def test_a_stopped_run_goes_on_after_its_last_batch(adapter, tmp_path):
    texts = toy.inputs(12, 4)
    whole, _ = labels(adapter, texts, tmp_path / "whole", scored=True).run()

    def stop(fraction, message="", **figures):
        if fraction > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        labels(adapter, texts, tmp_path / "cut", scored=True).run(stop)
    assert labels(adapter, texts, tmp_path / "cut", scored=True).run()[0] == whole


def test_an_adapter_of_another_base_is_refused_and_the_base_is_left_whole(adapter, tmp_path):
    model = toy.blank(3, hidden_size=64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CompositionError, match="does not fit toy/source") as caught:
        labels(adapter, ["red"], tmp_path, load=lambda: (model, toy.tokenizer())).run()
    assert caught.value.code == "adapter.does_not_load"
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert not hasattr(model, "peft_config")


def test_too_long_an_input_is_named(adapter, tmp_path):
    with pytest.raises(CompositionError, match="Input 2 and its answer") as caught:
        labels(adapter, ["red", "red " * 300], tmp_path).run()
    assert caught.value.code == "transfer.too_long"


def test_a_token_score_is_what_the_adapter_adds_to_its_log_probability(adapter, tmp_path):
    texts = toy.inputs(6, 2)
    rows, _ = labels(adapter, texts, tmp_path, scored=True).run()
    model, prompting = toy.base(0), Prompting(toy.tokenizer())
    answers = one_by_one(adapter, texts, False, 4)
    with adapter_attached(model, adapter) as teacher, torch.no_grad():
        for row, text, answer in zip(rows, texts, answers, strict=True):
            prompt = prompting.prompt(text)
            ids = torch.tensor([[*prompt, *answer]])
            high = teacher(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
            with teacher.disable_adapter():
                low = teacher(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
            wanted = [float(high[n, token] - low[n, token]) for n, token in enumerate(answer)]
            assert [score for _, score in row["scores"]] == pytest.approx(wanted, abs=1e-4)
            assert sum(length for length, _ in row["scores"]) == len(row["completion"])


class Characters:
    """A target's tokenizer that cuts a text in another way."""

    chat_template = None
    eos_token_id, pad_token_id = 0, 0

    def __init__(self, size):
        self.size, self.known = size, ["<end>"]

    def __call__(self, text, add_special_tokens=True):
        pieces = [text[start : start + self.size] for start in range(0, len(text), self.size)]
        self.known += [piece for piece in pieces if piece not in self.known]
        return {"input_ids": [self.known.index(piece) for piece in pieces]}

    def decode(self, ids, skip_special_tokens=False):
        return "".join(self.known[i] for i in ids if i)


def test_scores_travel_by_characters_to_the_targets_tokens():
    source, target = Prompting(Characters(3)), Prompting(Characters(2))
    ids = source.answer("abcdef")  # abc def <end>
    spans = span_scores(source, ids, [0.0, 0.0, -1.0], [-1.0, -4.0, -3.0])
    assert spans == [[3, 1.0], [3, 4.0], [0, 2.0]]
    answer = target.answer("abcdef")  # ab: 1, cd: 2.5, ef: 4, <end>: 2
    assert token_mask(target, answer, spans, 0.25) == [False, False, True, False]
    assert token_mask(target, answer, spans, 0.5) == [False, True, True, False]
    assert token_mask(target, answer, spans, 0.75) == [False, True, True, True]
    assert token_mask(target, answer, spans, 1.0) == [True] * 4
    assert sum(token_mask(target, answer, spans, 0.01)) == 1


def test_the_best_samples_have_the_highest_mean_score():
    rows = [{"completion": str(n), "scores": [[1, float(score)], [0, 0.0]]} for n, score in enumerate([3, 9, 1, 9, 5])]
    assert best_samples(rows, 3) == [1, 3, 4]
    assert best_samples(rows, 99) == [0, 1, 2, 3, 4]


def test_where_answers_are_classes_each_keeps_its_share_of_the_best():
    rows = [{"completion": "ab"[n % 3 == 0], "scores": [[1, n + 100.0 * (n % 3 == 0)]]} for n in range(30)]
    kept = best_samples(rows, 15)
    assert [sum(rows[place]["completion"] == name for place in kept) for name in "ab"] == [10, 5]
    assert [place for place in kept if rows[place]["completion"] == "b"] == [15, 18, 21, 24, 27]
    assert quotas({"a": 5, "b": 3, "c": 2}, 4) == {"a": 2, "b": 1, "c": 1}


def test_a_class_that_the_seeds_show_and_no_sample_has_is_an_error():
    answers = ["home"] * 30
    counts = class_counts(answers)
    with pytest.raises(
        CompositionError, match="Too few samples for the class of seed 2: the 2 classes of answers have 30, 0 samples"
    ) as caught:
        check_classes(counts, ["home", "wild"], 1)
    assert caught.value.code == "transfer.starved"
    assert check_classes(counts, ["home", "wild"], 0) == [
        "Few samples for the class of seed 2: the 2 classes of answers have 30, 0 samples."
    ]
    assert check_classes({"home": 15, "wild": 15}, ["home", "wild"], 1) == []


@pytest.mark.parametrize("answers", [["home"] * 19, [str(n) for n in range(30)], [str(n % 4) for n in range(39)]])
def test_answers_that_are_free_or_few_are_no_classes(answers):
    assert class_counts(answers) == {}
    assert check_classes({}, ["x"], 1) == []


def test_empty_answers_are_left_out():
    assert usable([{"completion": ""}, {"completion": "a"}]) == [{"completion": "a"}]
