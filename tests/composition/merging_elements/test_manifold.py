"""SLERP and the Karcher mean against mergekit's formulas on dense ΔW, and their geometry."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError, RecipeError
from composition.merging.core.cores import cores_of_grams
from composition.merging.manifold import karcher, karcher_core, slerp, slerp_core
from composition.recipes.merge.manifold import KarcherRecipe, SlerpRecipe
from composition.weights import Factors, LoraWeights
from tests.composition.merging_elements import references as ref
from tests.composition.random_adapters import random_adapter, relative

SUM = 8


def dense_slerp(t, one, other):
    """mergekit's slerp, flat."""
    cosine = float((one / one.norm() * (other / other.norm())).sum())
    if abs(cosine) > 0.9995:
        return (1 - t) * one + t * other
    angle = math.acos(cosine)
    return (math.sin(angle - angle * t) * one + math.sin(angle * t) * other) / math.sin(angle)


def dense_karcher(tensors, alphas, steps=10, tolerance=1e-5):
    """mergekit's karcher_merge_tensors on the sphere itself."""
    norms = [t.norm() for t in tensors]
    units = [t / n for t, n in zip(tensors, norms, strict=True)]
    mean = sum(a * u for a, u in zip(alphas, units, strict=True))
    mean = mean / mean.norm()
    for _ in range(steps):
        tangent = torch.zeros_like(mean)
        for alpha, unit in zip(alphas, units, strict=True):
            cosine = (mean * unit).sum().clamp(-1, 1)
            angle = cosine.arccos()
            if angle >= tolerance:
                tangent += alpha * angle / angle.sin() * (unit - cosine * mean)
        length = tangent.norm()
        if length < tolerance:
            break
        mean = length.cos() * mean + length.sin() * tangent / length
        mean = mean / mean.norm()
    return sum(a * n for a, n in zip(alphas, norms, strict=True)) * mean


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_slerp_is_mergekits(t):
    pair = ref.adapters_of(2, scales=[2.0, -0.5])
    want = dense_slerp(t, *ref.deltas(pair).double())
    result = slerp(pair, SlerpRecipe(rank=SUM, t=t))
    assert relative(result.weights["q"].delta(), want) < 1e-5
    cut = slerp(pair, SlerpRecipe(rank=3, t=t))
    assert relative(cut.weights["q"].delta(), ref.best(want, 3)) < 1e-5


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("iterations", [1, 10])
def test_karcher_is_mergekits(weights, iterations):
    three = ref.adapters_of(3, scales=[2.0, -0.5, 1.0])
    alphas = [1 / 3] * 3 if weights is None else [w / 6 for w in weights]
    want = dense_karcher(list(ref.deltas(three).double()), alphas, iterations)
    result = karcher(three, KarcherRecipe(rank=12, weights=weights, iterations=iterations))
    assert relative(result.weights["q"].delta(), want) < 1e-5


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_mean_of_two_is_halfway_between_their_directions(seed):
    pair = ref.adapters_of(2, seed, scales=[2.0, 0.5])
    one, other = (x / x.norm() for x in ref.deltas(pair).double())
    found = karcher(pair, KarcherRecipe(rank=SUM)).weights["q"].delta().double()
    sizes = [float(x.norm()) for x in ref.deltas(pair)]
    assert float(found.norm()) == pytest.approx(sum(sizes) / 2, rel=1e-5)
    assert relative(found / found.norm(), (one + other) / (one + other).norm()) < 1e-4


def test_one_direction_opposite_ones_and_an_absent_one():
    adapter = random_adapter(0, ranks={"q": 4})
    twice = LoraWeights({"q": Factors(adapter["q"].A, adapter["q"].B, 2.0)})
    against = LoraWeights({"q": Factors(adapter["q"].A, adapter["q"].B, -1.0)})
    absent = random_adapter(1, ranks={"v": 4})
    delta = adapter["q"].delta()
    for merge, recipe in ((slerp, SlerpRecipe(rank=4, t=0.25)), (karcher, KarcherRecipe(rank=4, weights=(3, 1)))):
        assert relative(merge([adapter, twice], recipe).weights["q"].delta(), 1.25 * delta) < 1e-5
    assert relative(slerp([adapter, against], SlerpRecipe(rank=4, t=0.25)).weights["q"].delta(), 0.5 * delta) < 1e-5
    turned = karcher([adapter, against], KarcherRecipe(rank=4, weights=(1, -1)))
    assert relative(turned.weights["q"].delta(), delta) < 1e-5
    stays = karcher([adapter, against], KarcherRecipe(rank=4)).weights["q"].delta()
    assert torch.isfinite(stays).all() and float(stays.norm()) == pytest.approx(float(delta.norm()), rel=1e-4)
    alone = slerp([adapter, absent], SlerpRecipe(rank=4)).weights["q"].delta()
    assert relative(alone, math.sin(math.pi / 4) * delta) < 1e-5
    assert relative(karcher([adapter, absent], KarcherRecipe(rank=4)).weights["q"].delta(), delta / 2) < 1e-5


def test_grams_alone_are_enough():
    pair = ref.adapters_of(2)
    A, B = torch.cat([a["q"].A for a in pair]).double(), torch.cat([a["q"].B for a in pair], 1).double()
    cores = cores_of_grams(A @ A.T, B.T @ B, (4, 4))
    want = dense_slerp(0.5, *ref.deltas(pair).double())
    got = torch.linalg.svdvals(slerp_core(cores, SlerpRecipe()))
    assert got.tolist() == pytest.approx(torch.linalg.svdvals(want)[:8].tolist(), rel=1e-4)
    want = dense_karcher(list(ref.deltas(pair).double()), [0.5, 0.5])
    assert float(karcher_core(cores, KarcherRecipe()).norm()) == pytest.approx(float(want.norm()), rel=1e-4)


def test_refusals():
    with pytest.raises(RecipeError, match="SLERP takes none"):
        slerp(ref.adapters_of(2), SlerpRecipe(weights=(1.0, 2.0)))
    with pytest.raises(CompositionError, match="SLERP is between two adapters, got 3"):
        slerp(ref.adapters_of(3), SlerpRecipe())
    with pytest.raises(RecipeError, match="at most 1"):
        SlerpRecipe(t=1.5)
