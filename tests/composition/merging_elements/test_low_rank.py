"""Block Krylov iteration over streamed rows, against a dense SVD."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.merged_model import low_rank
from composition.merged_model.low_rank import leading
from tests.composition.merging_elements.references import best
from tests.composition.random_adapters import relative


def rows_of(matrix, size=7):
    return lambda: ((slice(b, b + size), matrix[b : b + size]) for b in range(0, len(matrix), size))


def product(found):
    return (found.U * found.S) @ found.V.T


def matrix_of(shape, spectrum, seed=0):
    """A matrix [out, in] float64 with these singular values."""
    g = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(d, len(spectrum), generator=g).double()).Q for d in shape)
    return (left * spectrum) @ right.T


@settings(max_examples=25, deadline=None)
@given(out=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 10**6), data=st.data())
def test_any_shape_and_rank(out, width, seed, data):
    k = data.draw(st.integers(1, min(out, width)))
    matrix = torch.randn(out, width, generator=torch.Generator().manual_seed(seed))
    found = leading(rows_of(matrix), out, width, k)
    values = torch.linalg.svdvals(matrix.double())
    assert found.S.tolist() == pytest.approx(values[:k].tolist(), rel=1e-6, abs=1e-6)
    gap = float(values[k - 1] - values[k]) if k < len(values) else 1.0
    assert relative(product(found), best(matrix, k)) < 1e-6 / min(gap, 1.0) + 1e-9
    assert torch.allclose(found.U.T @ found.U, torch.eye(k).double(), atol=1e-8)
    assert torch.allclose(found.V.T @ found.V, torch.eye(k).double(), atol=1e-8)
    assert found.square == pytest.approx(float(matrix.double().square().sum()), rel=1e-9)


@pytest.mark.parametrize(
    "spectrum",
    [
        torch.logspace(0, -12, 60).double(),
        torch.ones(60).double(),
        torch.cat([torch.ones(5), torch.full((55,), 0.9)]).double(),
        1 / torch.arange(1, 61).double(),
        torch.cat([torch.ones(3), torch.zeros(57)]).double(),
    ],
    ids=["falling", "flat", "step", "slow", "low"],
)
def test_any_spectrum_keeps_as_much_as_the_best(spectrum):
    matrix = matrix_of((120, 90), spectrum)
    found = leading(rows_of(matrix), 120, 90, 8)
    off = float((product(found) - matrix).norm())
    least = float(spectrum[8:].norm())
    assert off <= least * (1 + 1e-9) + 1e-9
    assert found.retained == pytest.approx(float(spectrum[:8].square().sum() / spectrum.square().sum()), rel=1e-9)


def test_starting_anew_from_the_best_still_arrives(monkeypatch):
    matrix = matrix_of((150, 140), 1 / torch.arange(1, 101).double() ** 0.5)
    monkeypatch.setattr(low_rank, "BASIS", 30)
    found = leading(rows_of(matrix), 150, 140, 6)
    assert found.sweeps > 3
    assert relative(product(found), best(matrix, 6)) < 1e-5


def test_how_far_it_came_is_said(monkeypatch):
    monkeypatch.setattr(low_rank, "SWEEPS", 1)
    matrix = torch.randn(100, 90, generator=torch.Generator().manual_seed(0))
    rough = leading(rows_of(matrix), 100, 90, 4)
    assert rough.sweeps == 1 and rough.residual > 1e-2


def test_the_rank_that_an_energy_takes():
    matrix = matrix_of((30, 30), torch.tensor([3.0, 2.0, 1.0]).double())
    found = leading(rows_of(matrix), 30, 30, 3)
    assert [found.cut(e) for e in (0.1, 9 / 14 - 1e-6, 9 / 14 + 1e-6, 13 / 14 - 1e-6, 0.99)] == [1, 1, 2, 2, 3]
    nothing = leading(rows_of(torch.zeros(5, 4)), 5, 4, 2)
    assert nothing.retained == 1.0 and float(nothing.S.norm()) == 0.0


def test_what_is_not_finite_is_said():
    with pytest.raises(FloatingPointError, match="not finite"):
        leading(rows_of(torch.full((5, 4), torch.inf)), 5, 4, 2)


def test_same_seed_same_bits():
    matrix = torch.randn(60, 50, generator=torch.Generator().manual_seed(0))
    one, two = (leading(rows_of(matrix), 60, 50, 4) for _ in range(2))
    assert torch.equal(one.U, two.U) and torch.equal(one.S, two.S)
