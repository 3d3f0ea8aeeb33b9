"""Chunks and states: what adds up, in which order, and what is refused before anything is read."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.chunking import boundaries
from composition.errors import CompositionError
from composition.generative import State, adapter_of, generate
from composition.generative.encode import read
from composition.recipes import GenerateRecipe
from composition.weights import save_peft
from tests.composition.generators import Numbers, pico_generator, text
from tests.pico import pico_llama

torch.set_num_threads(1)


def made(words, generator=None, base=None, **recipe):
    onto = recipe.pop("onto", None)
    return generate(
        base or pico_llama(),
        Numbers(),
        generator or pico_generator(),
        words,
        GenerateRecipe(**{"window": 8, "dtype": "float32", **recipe}),
        onto=onto,
    )


def furthest(one, other):
    return max(float((one[m].delta() - other[m].delta()).abs().max()) for m in one)


@given(length=st.integers(0, 3000), window=st.integers(1, 400) | st.integers(1, 10**500))
@settings(max_examples=200, deadline=None)
def test_chunks_cover_the_text_and_are_equally_long(length, window):
    cut = boundaries(length, window)
    assert [i for begin, end in cut for i in range(begin, end)] == list(range(length))
    widths = [end - begin for begin, end in cut]
    assert len(set(widths[:-1])) <= 1 and all(0 < w <= window for w in widths)
    if length:
        assert max(widths) == math.ceil(length / max(1, math.ceil(Fraction(length, window))))


@pytest.mark.parametrize("length", [7, 8, 30, 41])
def test_sequential_in_one_pass_is_sequential_chunk_by_chunk(length):
    one, long = made(text(length), mode="sequential"), made(text(length), mode="sequential-long")
    torch.testing.assert_close(one.state.S, long.state.S, atol=1e-4, rtol=1e-4)
    assert furthest(one.weights, long.weights) < 1e-4
    if length > 8:
        assert (made(text(length)).state.S[1] - one.state.S[1]).abs().max() > 1e-2  # Layer 0 sees no adapter yet.


def test_a_text_of_one_chunk_is_the_same_in_every_mode():
    states = [made(text(8), mode=mode).state.S for mode in ("parallel", "sequential", "sequential-long", "concat")]
    for state in states[1:]:
        torch.testing.assert_close(state, states[0], atol=1e-5, rtol=1e-5)


def test_parallel_does_not_know_an_order_and_sequential_does():
    a, b = text(16), text(16, seed=1)
    one, other = made(f"{a} {b}"), made(f"{b} {a}")
    torch.testing.assert_close(one.state.S, other.state.S, atol=1e-6, rtol=1e-6)
    assert furthest(one.weights, other.weights) < 1e-5
    one, other = made(f"{a} {b}", mode="sequential"), made(f"{b} {a}", mode="sequential")
    assert furthest(one.weights, other.weights) > 1e-3


def test_documents_add_up_and_are_taken_away_again():
    generator, base = pico_generator(), pico_llama()
    a, b = made(text(16), generator, base), made(text(24, seed=1), generator, base)
    both = a.state + b.state
    assert both.tokens == 40
    torch.testing.assert_close(both.S, made(f"{text(16)} {text(24, seed=1)}", generator, base).state.S)
    onto = made(text(24, seed=1), generator, base, onto=a.state)
    assert furthest(onto.weights, adapter_of(generator, both)) == 0 and onto.report["total_tokens"] == 40
    assert furthest(adapter_of(generator, both), a.weights) > 1e-2
    for left, right in ((both - b.state, a), (both - a.state, b)):
        assert furthest(adapter_of(generator, left), right.weights) < 1e-6
    assert (both - a.state - b.state).S.abs().max() == 0


def test_states_are_kept_in_files(tmp_path):
    state = made(text(16)).state
    state.save(tmp_path / "a.safetensors")
    state.save(tmp_path / "b.safetensors")
    again = State.load(tmp_path / "a.safetensors")
    assert again.S.equal(state.S) and (again.tokens, again.generator) == (16, state.generator)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(b"no state")
    with pytest.raises(CompositionError) as caught:
        State.load(tmp_path / "a.safetensors")
    assert caught.value.code == "state.unreadable"


def test_states_of_two_generators_do_not_mix():
    one, other = made(text(8)), made(text(8), pico_generator(seed=5))
    for mix in (lambda: one.state + other.state, lambda: adapter_of(pico_generator(), other.state)):
        with pytest.raises(CompositionError) as caught:
            mix()
        assert caught.value.code == "state.other_generator"
    for less, code in ((16, "state.more_than_all"), (8, "state.not_part")):
        with pytest.raises(CompositionError) as caught:
            one.state - made(text(less, seed=1)).state
        assert caught.value.code == code


def test_the_same_text_gives_the_same_bytes(tmp_path):
    for name in "ab":
        save_peft(made(text(40)).weights, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_report_says_what_was_read_and_what_came_of_it():
    seen = []
    result = generate(
        pico_llama(),
        Numbers(),
        pico_generator(),
        text(20),
        GenerateRecipe(window=8, mode="sequential-long"),
        progress=lambda fraction, message="", **_: seen.append((fraction, message)),
    )
    report = result.report
    assert report["tokens"] == 20 and report["chunks"] == 3 and report["boundaries"] == [[0, 7], [7, 14], [14, 20]]
    assert seen[-1] == (1.0, "Chunk 3 of 3")
    assert result.weights.dtype == torch.float16 and result.weights.target_modules == ("o_proj",)
    for module, norm in report["norms"].items():
        assert norm == pytest.approx(float(result.weights[module].delta().norm()), rel=1e-3)


def test_reading_leaves_the_base_as_it_was():
    base = pico_llama()
    for mode in ("parallel", "sequential", "sequential-long"):
        read(base, pico_generator(), list(range(3, 40)), GenerateRecipe(window=8, mode=mode))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in base.modules())


@pytest.mark.parametrize(
    ("words", "recipe", "code"),
    [
        ("  \n", {}, "generate.empty"),
        ("3 4\0 5", {}, "generate.binary"),
        ("�\x01\x02" * 40, {}, "generate.binary"),
        (text(30), {"max_tokens": 29}, "generate.too_long"),
        (text(200), {"mode": "concat"}, "generate.too_long"),
        (text(200), {"window": 150}, "generate.too_long"),
    ],
)
def test_bad_texts_are_refused_before_the_base_runs(words, recipe, code):
    base = pico_llama()
    base.model.forward = None
    with pytest.raises(CompositionError) as caught:
        made(words, base=base, **recipe)
    assert caught.value.code == code


def test_a_generator_of_another_base_is_refused():
    generator = pico_generator(base_model="other/base")
    with pytest.raises(CompositionError, match="train one") as caught:
        generate(pico_llama(), Numbers(), generator, text(8), GenerateRecipe(), base_id="pico/llama")
    assert caught.value.code == "generator.other_base"
    base = pico_llama()
    base.model.layers[1].self_attn.o_proj = torch.nn.Linear(16, 32)
    with pytest.raises(CompositionError, match=r"layers\.1") as caught:
        generate(base, Numbers(), pico_generator(), text(8), GenerateRecipe())
    assert caught.value.code == "generator.shape"
