"""Evaluation against a reference that reads one row at a time, without cache, padding or a shared prefix."""

import math
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

from composition.errors import Cancelled, CompositionError
from composition.recipes import EvaluateRecipe
from composition.running.base_models import adapter_attached
from composition.running.evaluation import evaluate
from composition.running.prompting import Prompting, shared_prefix
from tests.pico import KINDS, pico_gpt2, pico_llama, write_adapter

torch.set_num_threads(1)
WORDS = ["<pad>", "<s>", "</s>", "<unk>", "<user>", "<bot>", *(f"w{n}" for n in range(58))]
CHAT = (
    "{% for m in messages %}{{ '<user> ' if m.role == 'user' else '<bot> ' }}{{ m.content }} </s> {% endfor %}"
    "{% if add_generation_prompt %}{{ '<bot> ' }}{% endif %}"
)
ALL = ("nll", "exact_match", "choice")


def make_tokenizer(chat: bool) -> PreTrainedTokenizerFast:
    """One id a word: w0 … w57, split at blanks."""
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **special, additional_special_tokens=WORDS[4:6])
    if chat:
        tokenizer.chat_template = CHAT
    return tokenizer


def make_rows(count: int = 11, opening: str = "w1 w2 w3", choices: bool = True) -> list[dict]:
    """Prompts of 1 to 9 words of their own after a common opening; completions of 1 to 3 words."""
    generator = torch.Generator().manual_seed(5)

    def words(low: int, high: int) -> str:
        length = int(torch.randint(low, high + 1, (1,), generator=generator))
        return " ".join(f"w{n}" for n in torch.randint(0, 58, (length,), generator=generator).tolist())

    rows = []
    for number in range(count):
        row = {"prompt": f"{opening} {words(1, 1 + number % 9)}".strip(), "completion": words(1, 3)}
        if choices:
            row["choices"] = [row["completion"], words(1, 3), words(2, 4)]
        rows.append(row)
    return rows


@torch.no_grad()
def log_p(model, prompt: list[int], answer: list[int]) -> float:
    """Σ log p(answer | prompt) by one plain forward pass."""
    logits = model(torch.tensor([prompt + answer]), use_cache=False).logits[0].double()
    steps = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1]
    return sum(float(steps[n, token]) for n, token in enumerate(answer))


@torch.no_grad()
def greedy(model, prompt: list[int], stop: int, new_tokens: int) -> list[int]:
    """Greedy answer by a plain forward pass a token."""
    written: list[int] = []
    while len(written) < new_tokens:
        written.append(int(model(torch.tensor([prompt + written]), use_cache=False).logits[0, -1].argmax()))
        if written[-1] == stop:
            return written[:-1]
    return written


def prompt_ids(tokenizer, text: str) -> list[int]:
    """Written out by hand, not by the code under test."""
    body = [WORDS.index(word) for word in text.split()]
    return [4, *body, 2, 5] if tokenizer.chat_template else body


def answer_ids(text: str) -> list[int]:
    return [*(WORDS.index(word) for word in text.split()), 2]


def pico_gemma() -> Gemma3ForCausalLM:
    """One layer that sees 6 tokens back and one that sees all: no prefix can be shared."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8, "vocab_size": 64}
    layers = ["sliding_attention", "full_attention"]
    config = Gemma3TextConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, layer_types=layers)
    config.sliding_window, config.eos_token_id, config.pad_token_id = 6, 2, 0
    return Gemma3ForCausalLM(config).eval()


MODELS = {"llama": pico_llama, "gpt2": pico_gpt2, "gemma3": pico_gemma}


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "plain"])
@pytest.mark.parametrize("opening", ["w1 w2 w3", ""], ids=["shared", "unshared"])
@pytest.mark.parametrize("name", MODELS)
def test_equals_one_row_at_a_time(name, opening, chat):
    model, tokenizer, rows = MODELS[name](), make_tokenizer(chat), make_rows(opening=opening)
    result = evaluate(model, tokenizer, rows, EvaluateRecipe(metrics=ALL, batch_size=4, max_new_tokens=5))
    nll = tokens = right = 0
    for row, found in zip(rows, result.per_row, strict=True):
        prompt, answer = prompt_ids(tokenizer, row["prompt"]), answer_ids(row["completion"])
        reference = log_p(model, prompt, answer)
        assert found["log_p"] == pytest.approx(reference, abs=1e-5)
        nll, tokens = nll - reference, tokens + len(answer)
        scores = {choice: log_p(model, prompt, answer_ids(choice)) for choice in row["choices"]}
        assert found["choice"] == max(scores, key=scores.__getitem__)
        assert found["choice_per_byte"] == max(scores, key=lambda choice: scores[choice] / len(choice))
        right += found["choice"] == row["completion"]
        written = greedy(model, prompt, 2, 5)
        assert found["prediction"] == tokenizer.decode(written, skip_special_tokens=True).strip()
    assert result.metrics["nll"] == pytest.approx(nll / tokens, abs=1e-5)
    assert result.metrics["choice"] == right / len(rows)
    assert result.rows == len(rows)


@pytest.mark.parametrize("batch", [1, 3, 11])
def test_padding_and_batches_change_nothing(batch):
    model, tokenizer, rows = pico_llama(3), make_tokenizer(True), make_rows()
    alone = [evaluate(model, tokenizer, [row], EvaluateRecipe(metrics=ALL, batch_size=1)).per_row[0] for row in rows]
    together = evaluate(model, tokenizer, rows, EvaluateRecipe(metrics=ALL, batch_size=batch)).per_row
    for one, many in zip(alone, together, strict=True):
        assert many["log_p"] == pytest.approx(one["log_p"], abs=1e-5)
        assert {**many, "log_p": 0, "row": 0} == {**one, "log_p": 0, "row": 0}


def chain(follows: dict[int, int]) -> torch.nn.Module:
    """A model whose likeliest next token depends on the last token alone: `follows[token]`, else token 2 (</s>)."""
    model = pico_llama()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        directions = torch.nn.init.orthogonal_(torch.empty(64, 64))[:, :32]
        model.model.embed_tokens.weight.copy_(directions)
        model.lm_head.weight.zero_()
        for token in range(64):
            model.lm_head.weight[follows.get(token, 2)] += 5 * directions[token]
    return model


def test_exact_match_of_a_model_whose_answers_are_known():
    follows = {WORDS.index(a): WORDS.index(b) for a, b in (("w1", "w10"), ("w10", "w11"), ("w2", "w20"), ("w3", "w3"))}
    rows = [
        {"prompt": "w0 w1", "completion": "w10 w11"},  # answers w10 w11 </s>
        {"prompt": "w5 w6 w2", "completion": " w20 "},  # blanks around the completion don't count
        {"prompt": "w1", "completion": "w10"},  # the answer goes on: wrong
        {"prompt": "w2", "completion": "w20 w21"},  # the answer ends early: wrong
        {"prompt": "w3", "completion": "w3 w3 w3"},  # never ends by itself, cut after 3 tokens: right
        {"prompt": "w3", "completion": "w3 w3 w3 w3"},  # longer than the answer may be: wrong
    ]
    model, tokenizer = chain(follows), make_tokenizer(False)
    result = evaluate(model, tokenizer, rows, EvaluateRecipe(metrics=("exact_match",), max_new_tokens=3))
    assert [row["prediction"] for row in result.per_row] == ["w10 w11", "w20", "w10 w11", "w20", "w3 w3 w3", "w3 w3 w3"]
    assert [row["exact_match"] for row in result.per_row] == [True, True, False, False, True, False]
    assert result.metrics == {"exact_match": 0.5}


def test_a_certain_answer_is_not_generated(monkeypatch):
    """Where each token of the completion is the likeliest, the greedy answer is known without generating."""
    follows = {WORDS.index(a): WORDS.index(b) for a, b in (("w1", "w10"), ("w10", "w11"))}
    monkeypatch.setattr("composition.running.evaluation.Reader.generate", lambda *_: pytest.fail("generated"))
    rows = [{"prompt": "w0 w1", "completion": "w10 w11"}, {"prompt": "w7 w8 w1", "completion": "w10 w11"}]
    recipe = EvaluateRecipe(metrics=("exact_match",), max_new_tokens=3)
    assert evaluate(chain(follows), make_tokenizer(False), rows, recipe).metrics["exact_match"] == 1.0


def test_a_choice_does_not_win_by_opening_another():
    """`w10` opens `w10 w11`; by its beginning alone it would always be the likelier."""
    follows = {WORDS.index(a): WORDS.index(b) for a, b in (("w1", "w10"), ("w10", "w11"))}
    rows = [{"prompt": "w1", "completion": "w10 w11", "choices": ["w10", "w10 w11", "w12"]}]
    result = evaluate(chain(follows), make_tokenizer(False), rows, EvaluateRecipe(metrics=("choice",)))
    assert result.metrics["choice"] == 1.0


def test_logits_are_made_for_answers_alone():
    model, tokenizer, rows = pico_llama(), make_tokenizer(True), make_rows(choices=False)
    widths = []
    model.lm_head.register_forward_hook(lambda _, inputs, __: widths.append(inputs[0].shape[1]))
    evaluate(model, tokenizer, rows, EvaluateRecipe(metrics=("nll", "exact_match"), max_new_tokens=4))
    assert max(widths) <= 3  # longest completion has 3 words, and the end: the last needs no logits after it


def test_progress_is_told_and_an_exception_from_it_ends_the_run():
    model, tokenizer, rows = pico_llama(), make_tokenizer(True), make_rows()
    told: list[float] = []

    def watch(fraction: float, message: str = "", **figures: float) -> None:
        told.append(fraction)
        if fraction > 0.5:
            raise Cancelled

    model.train()
    with pytest.raises(Cancelled):
        evaluate(model, tokenizer, rows, EvaluateRecipe(batch_size=3), progress=watch)
    assert told == [0.0, 3 / 11, 6 / 11]
    assert model.training


def test_limit_takes_the_first_rows():
    model, tokenizer, rows = pico_llama(), make_tokenizer(True), make_rows()
    few = evaluate(model, tokenizer, rows, EvaluateRecipe(limit=4))
    assert few.rows == len(few.per_row) == 4
    assert math.isclose(
        few.metrics["nll"], evaluate(model, tokenizer, rows[:4], EvaluateRecipe()).metrics["nll"], abs_tol=1e-6
    )


@pytest.mark.parametrize(
    ("rows", "metrics", "code"),
    [
        ([], ("nll",), "evaluate.no_rows"),
        ([{"prompt": "w1", "completion": "w2"}], ("choice",), "evaluate.no_choices"),
        ([{"prompt": "w1 " * 130, "completion": "w2"}], ("nll",), "evaluate.too_long"),
    ],
)
def test_refusals(rows, metrics, code):
    with pytest.raises(CompositionError) as refusal:
        evaluate(pico_llama(), make_tokenizer(True), rows, EvaluateRecipe(metrics=metrics))
    assert refusal.value.code == code


def test_adapters_in_turn_over_one_base(tmp_path: Path):
    """Each adapter measures as over a fresh base, and the base is afterwards what it was, bit for bit."""
    tokenizer, rows, recipe = make_tokenizer(True), make_rows(), EvaluateRecipe(metrics=ALL)
    folders = [write_adapter(tmp_path / name, seed=3, **KINDS[name]) for name in ("plain", "rslora")]
    base = pico_llama()
    bare = evaluate(base, tokenizer, rows, recipe).metrics
    keys = list(base.state_dict())
    for folder in folders:
        with adapter_attached(base, folder) as model:
            found = evaluate(model, tokenizer, rows, recipe).metrics
        fresh = PeftModel.from_pretrained(pico_llama(), str(folder)).eval()
        assert found == evaluate(fresh, tokenizer, rows, recipe).metrics
        assert found["nll"] != pytest.approx(bare["nll"], abs=1e-3)
    assert evaluate(base, tokenizer, rows, recipe).metrics == bare
    assert list(base.state_dict()) == keys


def test_prompting_ends_answers_where_the_template_ends_a_turn():
    prompting = Prompting(make_tokenizer(True))
    assert prompting.prompt("w0 w1") == [4, 6, 7, 2, 5]
    assert prompting.answer("w3") == [9, 2]
    assert prompting.text([9, 10, 2, 11]) == "w3 w4"


def test_shared_prefix_leaves_each_prompt_a_token():
    assert shared_prefix([[1, 2, 3], [1, 2, 4]]) == [1, 2]
    assert shared_prefix([[1, 2], [1, 2, 4]]) == [1]
    assert shared_prefix([[1, 2, 3], [1, 2, 3]]) == [1, 2]
    assert shared_prefix([[1], [2, 3]]) == []
    assert shared_prefix([]) == []
