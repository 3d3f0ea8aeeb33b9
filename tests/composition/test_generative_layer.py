"""The generator's mathematics: a slow reference of the paper's formula, the derivative, and the fold to PEFT."""

import contextlib

import numpy as np
import pytest
import torch

from composition.errors import CompositionError
from composition.generative.encode import adapter, layer_states
from composition.generative.generate import adapter_of, generate
from composition.generative.hooks import adapting
from composition.generative.layer import Generator
from composition.generative.normalise import TruncatedPolar, newton_schulz, normalise, svd
from composition.generative.state import State
from composition.recipes import GenerateRecipe
from composition.weights import save_peft
from tests.composition.generators import Numbers, pico_generator, text
from tests.pico import peft_logits, pico_llama, tokens

torch.set_num_threads(1)
SQUARE = {"inner": 10, "r": 10, "rank": 10}
NORMS = {"svd": {}, "polar": {**SQUARE, "norm": "polar"}, "frobenius": {"norm": "frobenius"}, "none": {"norm": "none"}}


def random_state(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def reference_delta(generator, layer, h, shift):
    """ΔW by the formula, token after token, in numpy."""
    config = generator.config
    A1, A2, A3, B, weight = (
        getattr(generator, part)[layer].double().numpy() for part in ("A1", "A2", "A3", "B", "norm")
    )
    n = h / np.sqrt((h**2).mean(-1, keepdims=True) + 1e-6) * weight
    S = np.zeros((config.inner, config.r))
    for t in range(len(n) - shift):
        S += np.outer(A2 @ n[t], A3 @ n[t + shift])
    u, _, vh = np.linalg.svd(S)
    M = u[:, : config.rank] @ vh[: config.rank]
    return config.alpha / config.r * B @ M.T @ A1


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("target", ["o_proj", "down_proj"])
def test_the_adapter_is_the_papers_formula(target, shift):
    base, generator = pico_llama(), pico_generator(target=target, shift=shift)
    ids = tokens(1, 20)
    weights = generate(base, Numbers(), generator, " ".join(map(str, ids[0].tolist())), GenerateRecipe(dtype="float32"))
    with torch.no_grad():
        hidden = base.model(ids, output_hidden_states=True).hidden_states
    for layer, module in enumerate(generator.config.modules):
        expected = reference_delta(generator, layer, hidden[layer][0].double().numpy(), shift)
        np.testing.assert_allclose(weights.weights[module].delta().numpy(), expected, atol=2e-5)
        assert weights.weights[module].rank == 6


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("target", ["o_proj", "down_proj"])
def test_peft_gives_the_logits_of_the_generators_own_forward(norm, target, tmp_path):
    base, generator = pico_llama(), pico_generator(target=target, **NORMS[norm])
    result = generate(base, Numbers(), generator, text(30), GenerateRecipe(window=8, dtype="float32"))
    save_peft(result.weights, tmp_path)
    with torch.no_grad(), adapting(base, generator.config, adapter(generator, result.state.S.unsqueeze(0))):
        own = base(tokens()).logits
    torch.testing.assert_close(peft_logits(tmp_path), own, atol=1e-5, rtol=0)
    assert (own - pico_llama()(tokens()).logits).abs().max() > 1e-2


def test_strength_scales_what_the_adapter_adds_and_nothing_else(tmp_path):
    base, generator = pico_llama(), pico_generator()
    plain, weak = (
        generate(base, Numbers(), generator, text(30), GenerateRecipe(dtype="float32", strength=strength))
        for strength in (1.0, 0.7)
    )
    assert torch.equal(plain.state.S, weak.state.S)
    for module, factors in plain.weights.items():
        torch.testing.assert_close(weak.weights[module].delta(), 0.7 * factors.delta(), atol=1e-6, rtol=1e-5)
        assert weak.report["norms"][module] == pytest.approx(0.7 * plain.report["norms"][module], abs=1e-5)
    save_peft(weak.weights, tmp_path)
    update = adapter(generator, plain.state.S.unsqueeze(0))
    with torch.no_grad(), adapting(base, generator.config, lambda number, x: 0.7 * update(number, x)):
        own = base(tokens()).logits
    torch.testing.assert_close(peft_logits(tmp_path), own, atol=1e-5, rtol=0)


def test_each_row_of_a_batch_has_an_adapter_of_its_own():
    base, generator = pico_llama(), pico_generator()
    with torch.no_grad():
        states = layer_states(base, generator, tokens(2, 16))
        with adapting(base, generator.config, adapter(generator, states)):
            both = base(tokens(2, 12, seed=3)).logits
        for row in range(2):
            with adapting(base, generator.config, adapter(generator, states[row : row + 1])):
                alone = base(tokens(2, 12, seed=3)[row : row + 1]).logits
            torch.testing.assert_close(both[row], alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("first_layer", [0, 1])
def test_layers_unbound_have_the_same_gradients(first_layer):
    base, found = pico_llama(), []
    for way in (contextlib.nullcontext, Generator.unbound):
        generator = pico_generator(first_layer=first_layer).requires_grad_(True)
        with way(generator):
            states = layer_states(base, generator, tokens(2, 16))
            with adapting(base, generator.config, adapter(generator, states)):
                base(tokens(2, 12, seed=3)).logits.square().mean().backward()
        found.append({name: p.grad for name, p in generator.named_parameters()})
        assert set(found[0]) == {"A1", "A2", "A3", "B", "norm"}
    for name, grad in found[0].items():
        assert grad.abs().max() > 0
        torch.testing.assert_close(found[1][name], grad)


@pytest.mark.parametrize("shape", [(7, 7), (9, 6), (6, 9)])
@pytest.mark.parametrize("rank", [3, 6])
def test_the_derivative_of_the_truncated_polar_factor(shape, rank):
    state = random_state(2, *shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: TruncatedPolar.apply(s, rank), (state,))


def test_equal_singular_values_among_the_kept_do_no_harm():
    q, _ = torch.linalg.qr(random_state(6, 6))
    p, _ = torch.linalg.qr(random_state(6, 6, seed=1))
    state = (q @ torch.diag(torch.tensor([3.0, 3, 3, 1, 0.5, 0.2]).double()) @ p).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: TruncatedPolar.apply(s, 4), (state[None],))


def test_a_tie_at_the_cut_passes_no_gradient_and_others_are_not_touched():
    states = torch.stack([torch.diag(torch.tensor([3.0, 1, 1, 0.5])), torch.diag(torch.tensor([4.0, 3, 2, 1]))])
    states.requires_grad_()
    (TruncatedPolar.apply(states, 2) * torch.randn(2, 4, 4)).sum().backward()
    assert states.grad[0].abs().max() == 0 and states.grad[1].abs().max() > 0


def test_newton_schulz_is_the_polar_factor():
    state = random_state(3, 8, 8)
    u, _, vh = torch.linalg.svd(state)
    torch.testing.assert_close(newton_schulz(state, 12), u @ vh, atol=1e-3, rtol=0)
    assert torch.autograd.gradcheck(newton_schulz, (random_state(1, 4, 5).requires_grad_(),))


@pytest.mark.parametrize("norm", ["svd", "polar", "frobenius"])
def test_a_norm_does_not_see_how_long_a_text_is_and_nothing_makes_nothing(norm):
    state = random_state(1, 6, 6)
    torch.testing.assert_close(normalise(state * 100, norm, 4), normalise(state, norm, 4), atol=1e-6, rtol=0)
    assert normalise(torch.zeros(1, 6, 6), norm, 4).abs().max() == 0


def test_a_text_of_few_tokens_has_few_directions():
    state = random_state(8, 3) @ random_state(3, 8, seed=1)
    u, kept, v = svd(state, 6)
    assert kept.sum() == 3 and u[:, 3:].abs().max() == 0
    assert u.shape == v.shape == (8, 6)


def test_signs_are_fixed():
    state = random_state(5, 7)
    u, _, v = svd(state, 4)
    assert all(u[u[:, i].abs().argmax(), i] > 0 for i in range(4))
    torch.testing.assert_close(u @ v.T, normalise(state, "svd", 4))


def test_states_that_overflowed_are_refused():
    generator = pico_generator()
    zero = State.zero(generator)
    with pytest.raises(CompositionError) as caught:
        adapter_of(generator, State(zero.S + float("nan"), 1, zero.generator))
    assert caught.value.code == "generator.not_finite"
