"""`Report.measure`: norms and errors of any factors, against the dense update in float64, and nothing dense made."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from composition.errors import CompositionError
from composition.merging import diagnostics
from composition.merging.average import average
from composition.merging.cat import cat
from composition.merging.svd import svd
from composition.merging.units import pool
from composition.recipes import AverageRecipe, CatRecipe, SvdRecipe
from composition.weights import Factors, LoraWeights
from tests.composition.random_adapters import random_adapter

MODULE = "q"


def opened(adapters, weights=None) -> diagnostics.Report:
    return diagnostics.begin(adapters, CatRecipe(weights=weights))


def dense(factors: Factors) -> torch.Tensor:
    return factors.scale * factors.B.double() @ factors.A.double()


def size(factors: Factors) -> float:
    """Σ ‖a_i‖ ‖b_i‖: what rounding of a sum of units is measured by."""
    return abs(factors.scale) * float((factors.A.double().norm(dim=1) * factors.B.double().norm(dim=0)).sum())


def stacked(adapters, weights) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors of scale 1 whose product is Σ w_i ΔW_i, in float64."""
    present = [(a[MODULE], w) for a, w in zip(adapters, weights, strict=True) if MODULE in a]
    A = torch.cat([f.A.double() for f, _ in present])
    return A, torch.cat([w * f.scale * f.B.double() for f, w in present], 1)


def trimmed(A: torch.Tensor, keep: float) -> torch.Tensor:
    """The largest share of the values, the others zero: what leaves the span of the inputs' units."""
    return torch.where(A.abs() >= A.abs().flatten().quantile(1 - keep), A, 0.0)


@st.composite
def cases(draw):
    """(adapters, weights, A, B, scale): results that are random, trimmed, or nearly the exact sum."""
    seed, count = draw(st.integers(0, 10**6)), draw(st.integers(2, 4))
    g = torch.Generator().manual_seed(seed)
    width = (draw(st.integers(1, 60)), draw(st.integers(1, 60)))
    scales = draw(st.lists(st.sampled_from([-0.5, 1e-12, 1.0, 3.0, 1e9]), min_size=count, max_size=count))
    if draw(st.booleans()):
        scales = [scales[0]] * count
    adapters = [random_adapter(seed + i, ranks={MODULE: draw(st.integers(1, 9))}, width=width) for i in range(count)]
    adapters = [
        LoraWeights({MODULE: Factors(a[MODULE].A, a[MODULE].B, s)}) for a, s in zip(adapters, scales, strict=True)
    ]
    if draw(st.booleans()):
        adapters[-1] = random_adapter(0, ranks={"other": 2}, width=width)
    weights = draw(st.lists(st.sampled_from([-1.0, 0.3, 1.0, 2.0]), min_size=count, max_size=count))
    A, B = stacked(adapters, diagnostics.share(weights, count))
    kind = draw(st.sampled_from(["random", "trimmed", "near"]))
    if kind == "random":
        rank = draw(st.integers(0, 12))
        A, B = torch.randn(rank, width[0], generator=g), torch.randn(width[1], rank, generator=g)
        return adapters, weights, A, B, draw(st.sampled_from([-2.0, 0.0, 1e-6, 1.0]))
    if kind == "trimmed":
        return adapters, weights, trimmed(A, draw(st.floats(0.1, 0.9))).float(), B.float(), 1.0
    off = draw(st.sampled_from([1e-3, 1e-5, 1e-7, 1e-8]))
    scale = draw(st.sampled_from([-1.0, 0.01, 7.0]))
    return adapters, weights, A * (1 + off * torch.randn(A.shape, generator=g).double()) / scale, B, scale


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_the_figures_are_those_of_the_dense_update(case):
    adapters, weights, A, B, scale = case
    count = len(adapters)
    report = opened(adapters, tuple(weights))
    row = report.measure(pool(adapters, MODULE), A, B, scale)
    shares = diagnostics.share(weights, count)
    result = dense(Factors(A, B, scale))
    target = sum(w * dense(a[MODULE]) for a, w in zip(adapters, shares, strict=True) if MODULE in a)
    rounding = 1e-13 * (
        size(Factors(A, B, scale))
        + sum(abs(w) * size(a[MODULE]) for a, w in zip(adapters, shares, strict=True) if MODULE in a)
    )

    def same(ours: float, theirs: torch.Tensor) -> bool:
        return abs(ours - float(theirs.norm())) <= 1e-6 * float(theirs.norm()) + rounding

    assert report.modules == {MODULE: row}
    assert row["rank"] == A.shape[0]
    assert same(row["norm"], result)
    assert same(row["norm_sum"], target)
    for norm, adapter in zip(row["norm_inputs"], adapters, strict=True):
        assert norm is None if MODULE not in adapter else norm == pytest.approx(float(dense(adapter[MODULE]).norm()))
    if row["error_sum"] is not None:
        assert same(row["error_sum"] * row["norm_sum"], result - target)
        assert same(row["error_mean"] * row["norm_sum"] / count, result - target / count)
    else:
        assert float(target.norm()) <= rounding
    if row["cosine"] is not None and min(row["norm"], row["norm_sum"]) > 1e4 * rounding:
        cosine = float((result * target).sum() / result.norm() / target.norm())
        ratio = row["norm"] / row["norm_sum"]
        loss = rounding / row["norm"] + rounding / row["norm_sum"] + 1e-9
        assert row["cosine"] == pytest.approx(cosine, abs=10 * loss * max(ratio, 1 / ratio))


@pytest.mark.parametrize("off", [1e-2, 1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8])
def test_a_small_error_keeps_its_digits(off, condition):
    """B (A − A₀) is the error without cancellation; units nearly dependent, of sizes far apart, change nothing."""
    g = torch.Generator().manual_seed(3)
    fall = torch.logspace(0, -torch.tensor(condition).log10().item(), 6)
    adapters = [random_adapter(i, ranks={MODULE: 6}, width=(90, 70), scale=0.5) for i in range(3)]
    adapters = [LoraWeights({MODULE: Factors(fall[:, None] * a[MODULE].A, a[MODULE].B, 0.5)}) for a in adapters]
    A, B = stacked(adapters, [1.0] * 3)
    step = off * A * torch.randn(A.shape, generator=g).double()
    row = opened(adapters).measure(pool(adapters, MODULE), A + step, B)
    exact = float((B @ ((A + step) - A)).norm() / (B @ A).norm())
    assert row["error_sum"] == pytest.approx(exact, rel=1e-5)
    assert row["cosine"] == pytest.approx(1.0, abs=off**2 + 1e-12)


def test_the_exact_sum_has_no_error_and_a_sum_of_nothing_no_ratio():
    adapters = [random_adapter(i, ranks={MODULE: 5}) for i in range(3)]
    A, B = stacked(adapters, [1.0] * 3)
    mix = torch.linalg.qr(torch.randn(len(A), len(A), generator=torch.Generator().manual_seed(0)).double()).Q
    exact = opened(adapters).measure(pool(adapters, MODULE), mix @ A, B @ mix.T)
    assert exact["error_sum"] < 1e-14
    assert exact["cosine"] == pytest.approx(1.0)
    twice = [adapters[0], adapters[0]]
    nothing = opened(twice, (1.0, -1.0)).measure(pool(twice, MODULE), A, B)
    assert (nothing["norm_sum"], nothing["error_sum"], nothing["error_mean"], nothing["cosine"]) == (
        0,
        None,
        None,
        None,
    )
    empty = opened(adapters).measure(pool(adapters, MODULE), A[:0], B[:, :0])
    assert (empty["norm"], empty["error_sum"], empty["cosine"], empty["rank"]) == (0, 1, None, 0)


@pytest.mark.parametrize("method", [cat, average, svd])
def test_it_agrees_with_what_the_methods_tell_of_themselves(method):
    adapters = [random_adapter(i, ranks={MODULE: 4, "k": 4}, scale=1.5) for i in range(3)]
    weights = (1.0, -0.5, 2.0)
    recipe = {
        cat: CatRecipe(weights=weights),
        average: AverageRecipe(weights=weights),
        svd: SvdRecipe(weights=weights, rank=3),
    }
    made = method(adapters, recipe[method])
    report = diagnostics.begin(adapters, recipe[method])
    for module, factors in made.weights.items():
        row = report.measure(pool(adapters, module), factors.A, factors.B, factors.scale)
        told = made.report["modules"][module]
        assert {name: row[name] for name in ("rank", "norm_inputs", "norm", "error_sum", "error_mean")} == {
            name: told[name] if name == "rank" else pytest.approx(told[name], rel=1e-5, abs=1e-6)
            for name in ("rank", "norm_inputs", "norm", "error_sum", "error_mean")
        }
    summary, told = report.to_dict(cosine=report.cosine())["summary"], made.report["summary"]
    for name in ("modules", "rank_max", "norm", "norm_inputs", "error_sum", "error_mean"):
        assert summary[name] == pytest.approx(told[name], rel=1e-5, abs=1e-6)
    assert -1 <= summary["cosine"] <= 1


def test_the_whole_update_is_one_vector():
    adapters = [random_adapter(i, ranks={"q": 4, "k": 2}) for i in range(2)]
    report = opened(adapters)
    results, targets = [], []
    for module in ("q", "k"):
        A, B = trimmed(adapters[0][module].A, 0.5), adapters[1][module].B
        report.measure(pool(adapters, module), A, B)
        results.append(dense(Factors(A, B)).flatten())
        targets.append(sum(dense(a[module]) for a in adapters).flatten())
    result, target = torch.cat(results), torch.cat(targets)
    summary = report.to_dict(cosine=report.cosine())["summary"]
    assert summary["norm"] == pytest.approx(float(result.norm()))
    assert summary["error_sum"] == pytest.approx(float((result - target).norm() / target.norm()))
    assert summary["cosine"] == pytest.approx(float(torch.cosine_similarity(result, target, 0)))


def test_rounding_to_the_stored_dtype_is_in_the_error():
    adapters = [random_adapter(i, ranks={MODULE: 4}) for i in range(2)]
    A, B = (half.bfloat16() for half in stacked(adapters, [1.0] * 2))
    row = opened(adapters).measure(pool(adapters, MODULE), A, B)
    target = sum(dense(a[MODULE]) for a in adapters)
    assert row["error_sum"] == pytest.approx(float((dense(Factors(A, B)) - target).norm() / target.norm()), rel=1e-9)
    assert 1e-4 < row["error_sum"] < 1e-2


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor made under it holds."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return made


@pytest.mark.parametrize("off", [0.5, 1e-7])
def test_no_dense_update_and_no_copy_of_the_stack_is_made(off):
    """At [200 000, 200 000] ΔW would be 160 GB in float32. `off` 1e-7 goes through QR."""
    adapters = [random_adapter(i, ranks={MODULE: 4}, width=(200_000, 200_000)) for i in range(2)]
    A, B = stacked(adapters, [1.0] * 2)
    report, units = opened(adapters), pool(adapters, MODULE)
    A = A * (1 + off)
    with Largest() as largest:
        row = report.measure(units, A, B)
    assert row["error_sum"] == pytest.approx(off, rel=1e-6)
    assert 0 < largest.numbers <= 2 * (4 + 4 + 8) * (2048 + 16)


@pytest.mark.parametrize("half", ["A", "B"])
def test_a_value_that_is_not_finite_is_refused(half):
    adapters = [random_adapter(i, ranks={MODULE: 4}, name=f"ada/{i}") for i in range(2)]
    A, B = stacked(adapters, [1.0] * 2)
    (A if half == "A" else B)[1, 1] = torch.nan
    with pytest.raises(CompositionError, match="the result"):
        opened(adapters).measure(pool(adapters, MODULE), A, B)
    adapters[1][MODULE].A[0, 0] = torch.inf
    A, B = stacked(adapters[:1], [1.0])
    with pytest.raises(CompositionError, match="ada/1"):
        opened(adapters).measure(pool(adapters, MODULE), A, B)


def test_factors_of_another_shape_are_refused():
    adapters = [random_adapter(i, ranks={MODULE: 4}) for i in range(2)]
    with pytest.raises(CompositionError, match=r"\[20, 23\]; expected \[20, 24\]"):
        opened(adapters).measure(pool(adapters, MODULE), torch.zeros(3, 23), torch.zeros(20, 3))
