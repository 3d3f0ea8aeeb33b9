"""RegMean against the paper's formula on dense matrices, what it promises to be invariant of, and its limits."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError, RecipeError
from composition.merging.calibrated.regmean import RegMeanRecipe, regmean_of_grams
from composition.weights import Factors, LoraWeights
from tests.composition.random_adapters import random_adapter, relative

Q, V = "model.layers.0.q_proj", "model.layers.0.v_proj"
WIDTH = 24


def gram_of(seed: int, tokens: int = 60) -> torch.Tensor:
    """A Gram of inputs with directions of very different strength, as activations have."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64) * torch.logspace(0, -2, WIDTH)
    x = torch.randn(tokens, WIDTH, generator=generator, dtype=torch.float64) @ mixed
    return x.mT @ x / tokens


def merged(adapters, grams, **recipe) -> LoraWeights:
    recipe = {"rank": 6, **recipe}
    return regmean_of_grams(adapters, RegMeanRecipe(**recipe), lambda adapter, module: grams[adapter]).weights


def paper(deltas, grams, *, alpha=0.9, ridge=1e-6, weights=None) -> torch.Tensor:
    """(Σ G̃_i)⁻¹ Σ G̃_i W_iᵀ, as the paper has it for W_iᵀ [in, out], densely and in float64."""
    weights = [1.0] * len(deltas) if weights is None else weights
    left, right = np.zeros((WIDTH, WIDTH)), 0.0
    for delta, gram, weight in zip(deltas, grams, weights, strict=True):
        damped = alpha * gram.numpy() + (1 - alpha) * np.diag(np.diag(gram.numpy()))
        damped = damped + ridge * np.mean(np.diag(gram.numpy())) * np.eye(WIDTH)
        left = left + weight * damped
        right = right + weight * damped @ delta.double().numpy().T
    return torch.from_numpy(np.linalg.inv(left) @ right).mT


@pytest.fixture
def three():
    return [
        random_adapter(1, ranks=2, scale=2.0),
        random_adapter(2, ranks=3, scale=-0.5),
        random_adapter(3, ranks=1, dtype=torch.bfloat16),
    ]


@pytest.fixture
def grams():
    return [gram_of(seed) for seed in range(3)]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("weights", [None, (1.0, 3.0, 0.5)])
def test_at_full_rank_it_is_the_papers_formula(three, grams, alpha, weights):
    result = merged(three, grams, off_diagonal=alpha, weights=weights)
    for module in (Q, V):
        expected = paper([a[module].delta() for a in three], grams, alpha=alpha, weights=weights)
        assert relative(result[module].delta(), expected) < 1e-5
        assert result[module].rank == 6


def test_without_the_off_diagonal_it_is_a_mean_weighted_input_by_input(three, grams):
    """With α = 0 column j of W* is the mean of the columns, weighted by the inputs' mean squares."""
    result = merged(three, grams, off_diagonal=0.0, ridge=1e-8)
    squares = torch.stack([gram.diagonal() for gram in grams])
    expected = sum(a[Q].delta().double() * s for a, s in zip(three, squares / squares.sum(0), strict=True))
    assert relative(result[Q].delta(), expected) < 1e-5


def test_equal_grams_give_the_plain_mean(three, grams):
    result = merged(three, [grams[0]] * 3, ridge=0.01)
    assert relative(result[Q].delta(), sum(a[Q].delta() for a in three) / 3) < 1e-5


def test_one_adapter_gives_itself(grams):
    alone = random_adapter(4, ranks=4)
    assert relative(merged([alone], grams[:1], rank=4, ridge=0.1)[Q].delta(), alone[Q].delta()) < 1e-5


def test_the_scale_multiplies_what_comes_out(three, grams):
    plain, doubled = merged(three, grams), merged(three, grams, scale=2.0)
    assert relative(doubled[Q].delta(), 2 * plain[Q].delta()) < 1e-6


@pytest.mark.parametrize("k", [1, 3])
def test_the_cut_is_the_best_of_its_rank_for_the_outputs(three, grams, k):
    """By Eckart and Young in the coordinates of the activations: W* S^½ loses its smallest singular values."""
    damped = [0.9 * g + 0.1 * torch.diag(g.diagonal()) for g in grams]
    whole = paper([a[Q].delta() for a in three], grams, ridge=1e-8)
    values, vectors = torch.linalg.eigh(sum(damped) / 3)
    root = vectors * values.sqrt() @ vectors.mT
    lost = torch.linalg.svdvals(whole @ root)[k:].norm()
    result = merged(three, grams, rank=k, ridge=1e-8)[Q]
    assert result.rank == k
    assert float(((result.delta().double() - whole) @ root).norm()) == pytest.approx(float(lost), rel=1e-4)
    plain = merged(three, grams, rank=k, ridge=1e-8, cut="weights")[Q].delta().double()
    assert float(((plain - whole) @ root).norm()) > float(lost) * 1.01
    assert float((plain - whole).norm()) == pytest.approx(float(torch.linalg.svdvals(whole)[k:].norm()), rel=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.permutations(range(3)))
def test_neither_order_nor_ranks_nor_factorisation_matter(seed, order):
    generator = torch.Generator().manual_seed(seed)
    adapters = [random_adapter(seed + n, ranks=r, scale=s) for n, (r, s) in enumerate([(2, 1.0), (3, -2.0), (4, 0.5)])]
    grams = [gram_of(seed + n) for n in range(3)]

    def rewritten(adapter: LoraWeights) -> LoraWeights:
        modules = {}
        for name, factors in adapter.items():
            q, _ = torch.linalg.qr(torch.randn(factors.rank, factors.rank, generator=generator))
            shuffle = torch.randperm(factors.rank + 1, generator=generator)
            A = torch.cat([q @ factors.A, torch.zeros(1, factors.in_features)])[shuffle]
            B = torch.cat([factors.B @ q.mT, torch.zeros(factors.out_features, 1)], 1)[:, shuffle]
            modules[name] = Factors(A * 3, B, factors.scale / 3)
        return LoraWeights(modules)

    expected = merged(adapters, grams, rank=5)
    result = merged([rewritten(adapters[i]) for i in order], [grams[i] for i in order], rank=5)
    for module in (Q, V):
        assert relative(result[module].delta(), expected[module].delta()) < 2e-4


def test_an_adapter_that_lacks_a_module_asks_for_no_change_there(grams):
    """Its update is zero, and its text counts: the objective of the paper, with W_i = 0."""
    pair = [random_adapter(1, ranks={Q: 2, V: 2}), random_adapter(2, ranks={Q: 2})]
    expected = paper([pair[0][V].delta(), torch.zeros(20, WIDTH)], grams[:2])
    assert relative(merged(pair, grams[:2], rank=4)[V].delta(), expected) < 1e-5


def test_where_no_token_came_it_is_the_mean(three):
    nothing = [torch.zeros(WIDTH, WIDTH)] * 3
    assert relative(merged(three, nothing)[Q].delta(), sum(a[Q].delta() for a in three) / 3) < 1e-5


def test_the_report_says_how_far_each_adapters_outputs_have_moved(three, grams):
    recipe = RegMeanRecipe(rank=3)
    result = regmean_of_grams(three, recipe, lambda adapter, module: grams[adapter])
    for n, adapter in enumerate(three):
        values, vectors = torch.linalg.eigh(grams[n])
        root = vectors * values.clamp_min(0).sqrt() @ vectors.mT
        was = adapter[Q].delta().double()
        moved = ((result.weights[Q].delta().double() - was) @ root).norm() / (was @ root).norm()
        assert result.report["modules"][Q]["output_error"][n] == pytest.approx(float(moved), rel=1e-4)
    assert len(result.report["summary"]["output_error"]) == 3


def test_the_dtype_is_the_recipes(three, grams):
    assert merged(three, grams, dtype="bfloat16", rank=2)[Q].A.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("recipe", "field"),
    [
        ({"weights": (1.0, -1.0, 1.0)}, "weights"),
        ({"weights": (1.0, 1.0)}, "weights"),
        ({"rank": 7}, "rank"),
        ({"off_diagonal": 1.5}, "off_diagonal"),
        ({"ridge": 0.0}, "ridge"),
        ({"cut": "both"}, "cut"),
    ],
)
def test_what_makes_no_sense_is_refused(three, grams, recipe, field):
    with pytest.raises(RecipeError) as refused:
        merged(three, grams, **recipe)
    assert refused.value.field == field


def test_inputs_that_can_not_be_solved_for_say_what_to_do(three):
    broken = torch.eye(WIDTH)
    broken[0, 1] = broken[1, 0] = 10.0
    with pytest.raises(CompositionError, match="off_diagonal") as refused:
        merged(three, [broken] * 3)
    assert refused.value.code == "merge.singular"
