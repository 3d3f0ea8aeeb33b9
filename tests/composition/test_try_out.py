"""A trial says what generate says, piece by piece, stops when told to, and knows who served which token."""

from collections import Counter

import pytest
import torch
from peft import PeftModel

from composition.errors import CompositionError, RecipeError
from composition.moe.assemble import assemble
from composition.moe.lora_moe_peft import record_routing
from composition.moe.routing import expert_weights
from composition.moe.save import save_assembly
from composition.recipes import MeteoraRecipe, SmoraRecipe, TryRecipe
from composition.running.base_models import adapter_attached
from composition.running.prompting import pieces
from composition.running.try_out import try_out
from tests import pico
from tests.composition.mixtures import Words, read_experts

PROMPT = "9 10 11 30"


class Bytes:
    """A tokenizer whose ids are bytes: most characters beyond ASCII need several."""

    def decode(self, ids, skip_special_tokens=False):
        return bytes(ids).decode("utf-8", "replace")


def greedy(model, count: int) -> list[int]:
    ids = torch.tensor([[int(word) for word in PROMPT.split()]])
    return model.generate(ids, max_new_tokens=count, do_sample=False)[0, ids.shape[1] :].tolist()


def shown(ids) -> list[str]:
    return [str(number) for number in ids if number != Words.eos_token_id]


@pytest.mark.parametrize("make", [pico.pico_llama, pico.pico_gpt2])
def test_the_greedy_answer_is_what_generate_writes(make):
    answer = try_out(make(), Words(), TryRecipe(prompt=PROMPT, max_new_tokens=12))
    assert answer.text.split() == shown(greedy(make(), 12))
    assert (answer.prompt_tokens, answer.tokens, answer.routing) == (4, len(answer.text.split()), None)
    assert 0 < answer.first_seconds <= answer.seconds


def test_an_adapter_answers_for_itself_and_the_base_without_it(tmp_path):
    folder = pico.write_adapter(tmp_path / "a", b_scale=2.0, **pico.KINDS["plain"])
    recipe = TryRecipe(prompt=PROMPT, max_new_tokens=8)
    peft = PeftModel.from_pretrained(pico.pico_llama(), folder).eval()
    with adapter_attached(pico.pico_llama(), folder) as model:
        adapted = try_out(model, Words(), recipe).text.split()
        with model.disable_adapter():
            bare = try_out(model, Words(), recipe).text.split()
    assert adapted == shown(greedy(peft, 8))
    assert bare == shown(greedy(pico.pico_llama(), 8)) != adapted


def test_pieces_come_one_a_token_and_make_up_the_text():
    heard = []
    recipe = TryRecipe(prompt=PROMPT, max_new_tokens=6)
    answer = try_out(pico.pico_llama(), Words(), recipe, hear=lambda piece, tokens: heard.append((piece, tokens)))
    assert "".join(piece for piece, _ in heard) == answer.text
    assert [tokens for _, tokens in heard] == list(range(1, answer.tokens + 1))


def test_a_character_of_several_tokens_is_shown_once_it_is_whole():
    ids = list("naïve 🙂 ä".encode())
    assert "".join(pieces(Bytes(), ids)) == "naïve 🙂 ä"
    assert pieces(Bytes(), ids)[2:4] == ["", "ï"]


def test_what_listens_can_end_it():
    class Enough(Exception):
        pass

    def hear(piece, tokens):
        if tokens == 2:
            raise Enough

    model = pico.pico_llama().train()
    with pytest.raises(Enough):
        try_out(model, Words(), TryRecipe(prompt=PROMPT), hear=hear)
    assert model.training


def test_an_answer_ends_with_its_stop_token():
    model = pico.pico_llama()
    first = greedy(model, 3)[0]
    model.generation_config.eos_token_id = first
    answer = try_out(model, Words(), TryRecipe(prompt=PROMPT))
    assert (answer.text, answer.tokens, answer.ended) == ("", 0, "stop")


def test_drawn_answers_follow_the_seed_and_the_probabilities():
    model = pico.pico_llama()
    ask = lambda seed: try_out(model, Words(), TryRecipe(prompt=PROMPT, max_new_tokens=1, temperature=0.3, seed=seed))  # noqa: E731
    assert ask(5).text == ask(5).text
    drawn = Counter(ask(seed).text for seed in range(400))
    with torch.no_grad():
        logits = model(torch.tensor([[9, 10, 11, 30]])).logits[0, -1]
    chances = torch.softmax(logits.double() / 0.3, 0)
    for token, chance in enumerate(chances.tolist()):
        if chance > 0.05 and token != 2:
            assert drawn[str(token)] / 400 == pytest.approx(chance, abs=0.08)


def test_context_is_read_before_the_prompt():
    recipe = TryRecipe(prompt="11 30", context="9 10", max_new_tokens=4)
    assert recipe.text.split() == PROMPT.split()
    assert try_out(pico.pico_llama(), Words(), recipe).prompt_tokens == 4


@pytest.mark.parametrize("recipe", [MeteoraRecipe(train="prototype"), SmoraRecipe(train="prototype")], ids=str)
def test_every_token_has_its_experts_shares(recipe, tmp_path):
    save_assembly(assemble(read_experts(tmp_path), recipe), tmp_path / "mix")
    base = pico.pico_llama().double()  # Ranks that nearly tie must not change places with the rounding of a machine.
    with adapter_attached(base, tmp_path / "mix") as model:
        answer = try_out(model, Words(), TryRecipe(prompt=PROMPT, max_new_tokens=5))
        ids = [int(word) for word in f"{PROMPT} {answer.text}".split()]
        with torch.no_grad(), record_routing(model) as routing:
            model(torch.tensor([ids]))
            whole = [expert_weights(routing[m], routing.experts(m), routing.weights(m)) for m in routing]
    table = answer.routing
    assert (table["experts"], table["layers"], table["prompt"], table["skipped"]) == (["a", "b", "c"], [0, 1], 4, 0)
    assert "".join(token["text"] for token in table["tokens"]) == f"{PROMPT} {answer.text}"
    mean = torch.stack(whole).mean(0)
    shares = torch.tensor([token["shares"] for token in table["tokens"]])
    assert torch.allclose(shares, mean, atol=2e-4)
    assert [token["expert"] for token in table["tokens"]] == mean.argmax(-1).tolist()
    assert all(len(token["layers"]) == 2 for token in table["tokens"])


def test_an_answer_is_no_longer_than_the_base_reads():
    model = pico.pico_llama()
    model.generation_config.eos_token_id = None
    assert try_out(model, Words(), TryRecipe(prompt="9 " * 120, max_new_tokens=20)).tokens <= 8


def test_bad_values_are_refused():
    for field, values in {
        "prompt": {"prompt": "a" * 200_001},
        "context": {"prompt": "a", "context": "b" * 200_001},
        "max_new_tokens": {"prompt": "a", "max_new_tokens": 0},
        "temperature": {"prompt": "a", "temperature": -1},
    }.items():
        with pytest.raises(RecipeError) as refusal:
            TryRecipe(**values)
        assert refusal.value.facts["field"] == field
    with pytest.raises(RecipeError, match="empty"):
        TryRecipe(prompt=" \n").check([])
    with pytest.raises(CompositionError) as refusal:
        try_out(pico.pico_llama(), Words(), TryRecipe(prompt="9 " * 128))
    assert refusal.value.code == "try.too_long"
