"""Truncated SVD, concatenation and rank-wise average: exactness, optimality, conditioning, invariances, refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.merging.average import AverageRecipe, average
from composition.merging.cat import CatRecipe, cat
from composition.merging.svd import SvdRecipe, svd
from composition.weights import Factors, LoraWeights, save_peft
from tests import pico
from tests.composition.random_adapters import random_adapter, relative


def exact(adapters, module, weights):
    """Σ w_i ΔW_i, dense float64."""
    return sum(
        w * a[module].scale * a[module].B.double() @ a[module].A.double()
        for a, w in zip(adapters, weights, strict=True)
        if module in a
    )


def conditioned(r: int, condition: float, scale: float, seed: int, side: str) -> Factors:
    """A random update whose factors' singular values fall to 1/condition: in A, in B, in both, or crosswise."""
    g = torch.Generator().manual_seed(seed)
    q = [torch.linalg.qr(torch.randn(d, r, generator=g, dtype=torch.float64)).Q for d in (40, 36)]
    mix = torch.linalg.qr(torch.randn(r, r, generator=g, dtype=torch.float64)).Q
    fall = torch.logspace(0, -math.log10(condition), r, dtype=torch.float64)
    one = torch.ones(r, dtype=torch.float64)
    a, b = {"A": (fall, one), "B": (one, fall), "both": (fall.sqrt(), fall.sqrt()), "cross": (fall, fall.flip(0))}[side]
    return Factors((mix @ (a[:, None] * q[0].T)).float(), ((q[1] * b) @ mix.T).float(), scale)


@pytest.mark.parametrize("kind", pico.KINDS)
def test_svd_of_one_adapter_at_its_own_rank_is_itself(tmp_path, kind):
    folder = pico.write_kind(tmp_path / "a", kind)
    adapter = read_adapter(folder)
    result = svd([adapter], SvdRecipe(rank=adapter.facts().ranks[1]))
    for module, factors in adapter.items():
        assert result.weights[module].rank == factors.rank
        assert relative(result.weights[module].delta(), factors.delta()) < 1e-6
    save_peft(result.weights, tmp_path / "b", base_model=pico.BASE)
    assert relative(pico.peft_logits(tmp_path / "b"), pico.peft_logits(folder)) < 1e-5


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e3, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("side", ["A", "B", "both", "cross"])
def test_svd_survives_bad_condition(condition, side):
    """Rank and alpha patterns and rsLoRA come down to ranks and scales that differ by module."""
    modules = {
        f"m{i}": conditioned(r, condition, scale, i, side)
        for i, (r, scale) in enumerate([(8, 2.0), (5, 16 / math.sqrt(8)), (16, 0.01), (1, 3.0)])
    }
    adapter = LoraWeights(modules)
    result = svd([adapter], SvdRecipe(rank=16))
    for module, factors in adapter.items():
        want = factors.B.double() @ factors.A.double() * factors.scale
        got = result.weights[module].B.double() @ result.weights[module].A.double()
        assert relative(got, want) < 1e-6, module
    assert result.report["summary"]["error_sum"] < 1e-6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 9), w=st.tuples(*[st.sampled_from([-1.0, 0.3, 1.0, 2.0])] * 3))
def test_svd_is_as_good_as_the_dense_one(seed, k, w):
    adapters = [random_adapter(seed + i, ranks={"q": 2 + i}, scale=1.5) for i in range(3)]
    result = svd(adapters, SvdRecipe(rank=k, weights=w))
    target = exact(adapters, "q", w)
    u, s, vh = torch.linalg.svd(target)
    best = (u[:, :k] * s[:k]) @ vh[:k]
    ours = result.weights["q"].B.double() @ result.weights["q"].A.double()
    assert float((ours - target).norm()) <= float((best - target).norm()) + 1e-6 * float(s[0])
    row = result.report["modules"]["q"]
    assert row["singular_values"] == pytest.approx(s[:k].tolist(), rel=1e-4)
    assert row["retained"] == pytest.approx(float((s[:k] ** 2).sum() / (s**2).sum()), rel=1e-5)


def test_svd_result_is_balanced():
    adapters = [random_adapter(i, ranks={"q": 4}) for i in range(2)]
    factors = svd(adapters, SvdRecipe(rank=3)).weights["q"]
    assert torch.allclose(factors.A @ factors.A.T, factors.B.T @ factors.B, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), c=st.floats(1e-3, 1e3))
def test_svd_does_not_see_the_gauge(seed, c):
    adapters = [random_adapter(seed + i, ranks={"q": 4}) for i in range(2)]
    q = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))).Q
    turned = [LoraWeights({"q": Factors(c * q @ a["q"].A, a["q"].B @ q.T / c)}) for a in adapters]
    one, two = (svd(a, SvdRecipe(rank=8)).weights["q"].delta() for a in (adapters, turned))
    assert relative(two, one) < 1e-5


def test_dependent_units_take_the_qr_way_and_stay_right():
    adapter = random_adapter(0, ranks={"q": 4})
    result = svd([adapter, adapter, adapter], SvdRecipe(rank=6))
    assert relative(result.weights["q"].delta(), adapter["q"].delta()) < 1e-6
    assert result.report["summary"]["error_mean"] < 1e-6
    assert result.report["summary"]["norm_inputs"][0] == pytest.approx(float(adapter["q"].delta().norm()), rel=1e-5)


def test_svd_of_more_units_than_features_and_of_nothing():
    adapters = [random_adapter(i, ranks={"q": 16}, width=(12, 10)) for i in range(2)]
    result = svd(adapters, SvdRecipe(rank=10))
    assert relative(result.weights["q"].delta(), exact(adapters, "q", (0.5, 0.5))) < 1e-6
    zero = LoraWeights({"q": Factors(torch.randn(2, 5), torch.zeros(4, 2))})
    assert float(svd([zero], SvdRecipe(rank=2)).weights["q"].delta().norm()) == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), w=st.one_of(st.none(), st.tuples(*[st.sampled_from([-1.0, 0.3, 2.0])] * 2)))
def test_cat_is_the_exact_sum(seed, w):
    adapters = [
        random_adapter(seed, ranks={"q": 3, "v": 2}, scale=2.0),
        random_adapter(seed + 1, ranks={"q": 5}, scale=0.5),
    ]
    result = cat(adapters, CatRecipe(weights=w))
    assert {m: f.rank for m, f in result.weights.items()} == {"q": 8, "v": 2}
    for module in result.weights:
        assert relative(result.weights[module].delta(), exact(adapters, module, w or (1, 1))) < 1e-6
    if w is None:
        assert result.report["summary"]["error_sum"] == pytest.approx(0, abs=1e-6)


def test_cat_by_peft_adds_the_adapters_updates(tmp_path):
    folders = [
        pico.write_kind(tmp_path / kind, kind, seed=i) for i, kind in enumerate(("rank_pattern", "rslora", "regex"))
    ]
    adapters = [read_adapter(folder) for folder in folders]
    save_peft(cat(adapters, CatRecipe()).weights, tmp_path / "sum", base_model=pico.BASE)
    deltas = {m: exact(adapters, m, (1, 1, 1)).float() for m in {m for a in adapters for m in a}}
    assert relative(pico.peft_logits(tmp_path / "sum"), pico.delta_logits(deltas)) < 1e-5


def test_average_is_the_mean_of_factors_not_of_updates():
    adapters = [random_adapter(i, scale=2.0) for i in range(3)]
    result = average(adapters, AverageRecipe())
    module = "model.layers.0.q_proj"
    A = sum(a[module].A for a in adapters) / 3
    B = sum(a[module].B for a in adapters) / 3
    assert relative(result.weights[module].delta(), 2.0 * B @ A) < 1e-6
    dense = sum(a[module].delta() for a in adapters) / 3
    assert result.report["modules"][module]["error_mean"] == pytest.approx(relative(2.0 * B @ A, dense), rel=1e-5)


def test_average_of_one_start_is_the_mean_and_of_equals_is_itself():
    shared = [random_adapter(i, a_seed=9) for i in range(3)]
    result = average(shared, AverageRecipe())
    assert result.report["summary"]["error_mean"] < 1e-6
    same = average([shared[0]] * 3, AverageRecipe(weights=(0.5, 0.25, 0.25)))
    for module in shared[0]:
        assert relative(same.weights[module].delta(), shared[0][module].delta()) < 1e-6


def test_average_refuses_unequal_ranks_by_name():
    with pytest.raises(CompositionError, match=r"q has rank 3 in adapter 1 but 5 in adapter 2"):
        average([random_adapter(0, ranks={"q": 3}), random_adapter(1, ranks={"q": 5})], AverageRecipe())


@pytest.mark.parametrize(
    ("method", "recipe"),
    [(svd, SvdRecipe(rank=3)), (cat, CatRecipe()), (average, AverageRecipe())],
    ids=["svd", "cat", "average"],
)
def test_same_inputs_same_bytes_and_names_kept(tmp_path, method, recipe):
    folders = [pico.write_kind(tmp_path / f"{i}", "plain", seed=i) for i in range(2)]
    for name in ("one", "two"):
        save_peft(method([read_adapter(f) for f in folders], recipe).weights, tmp_path / name)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    again = read_adapter(tmp_path / "one")
    assert (again.base_model, again.task_type) == (pico.BASE, "CAUSAL_LM")
    assert again.target_modules == tuple(sorted(pico.ALL_LINEAR))


def test_different_bases_are_warned_of():
    one, two = random_adapter(0), random_adapter(1)
    two.base_model = "pico/other"
    result = cat([one, two], CatRecipe())
    assert "pico/none, pico/other" in result.report["warnings"][0]
    assert result.weights.base_model is None


@pytest.mark.parametrize("merge", [average, cat], ids=["average", "cat"])
def test_a_result_that_is_not_finite_is_refused_in_float32_too(merge):
    big = LoraWeights({"q": Factors(torch.full((1, 4), 3e18), torch.ones(4, 1), 1e36)})
    recipe = {average: AverageRecipe, cat: CatRecipe}[merge](weights=(1e6, 1e6))
    with pytest.raises(CompositionError) as refused:
        merge([big, big], recipe).weights["q"]
    assert refused.value.code == "weights.overflow"
