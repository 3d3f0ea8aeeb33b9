"""Cores: what they keep of the adapters, from Grams and from QR; the cut; the lift."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.merging.core import cores as frame
from composition.merging.core.cores import Cores, cores_of, cores_of_grams
from composition.merging.core.merge import cut
from composition.merging.gram import grams
from composition.merging.units import pool
from composition.weights import Factors, LoraWeights
from tests.composition.merging_core.families import FAMILIES, IN, OUT
from tests.composition.random_adapters import relative


def cores_and_units(adapters, module="q"):
    units = pool(adapters, module)
    return cores_of(units, grams([units], ["a"] * len(adapters))), units


def dense(adapter, module="q"):
    f = adapter[module]
    return f.scale * f.B.double() @ f.A.double()


def lifted(cores: Cores, core: torch.Tensor) -> torch.Tensor:
    assert cores.lift is not None
    B, A = cores.lift(core, torch.eye(core.shape[1], dtype=torch.float64))
    return B.double() @ A.double()


@pytest.mark.parametrize("family", FAMILIES)
def test_cores_hold_the_updates_and_lift_them_back(family):
    adapters = FAMILIES[family]()
    for module in sorted({m for a in adapters for m in a}):
        cores, _ = cores_and_units(adapters, module)
        for i, adapter in enumerate(adapters):
            if module not in adapter:
                assert not cores.updates()[i].any()
                continue
            want = dense(adapter, module)
            scale = max(float(want.norm()), 1e-3)
            assert float((lifted(cores, cores.updates()[i]) - want).norm()) < 2e-6 * scale
            assert float(cores.norms()[i]) == pytest.approx(float(want.norm()), rel=1e-6, abs=1e-9)
        weights = [1.0, -0.5, 2.0]
        want = sum(w * dense(a, module) for w, a in zip(weights, adapters, strict=True) if module in a)
        values = torch.linalg.svdvals(cores.whole(weights))
        expected = torch.linalg.svdvals(want)[: len(values)]
        assert torch.allclose(values[: len(expected)], expected, atol=3e-6 * float(expected[0]))


@pytest.mark.parametrize("family", FAMILIES)
def test_cores_of_grams_alone_say_the_same_of_the_updates(family):
    adapters = FAMILIES[family]()
    cores, units = cores_and_units(adapters)
    gram = grams([units], ["a"] * 3, exact=True)
    alone = cores_of_grams(gram.A[0], gram.B[0], units.ranks)
    assert alone.lift is None
    flat, other = cores.updates().flatten(1), alone.updates().flatten(1)
    assert torch.allclose(flat @ flat.mT, other @ other.mT, atol=1e-5 * float((flat @ flat.mT).max()))
    bare = cores_of_grams(gram.A[0], gram.B[0] * torch.outer(units.sign, units.sign), units.ranks, units.sign)
    assert torch.allclose(bare.whole((1.0, 2.0, 3.0)).norm(), cores.whole((1.0, 2.0, 3.0)).norm(), rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), fall=st.floats(0, 9))
def test_bases_stay_orthonormal_however_dependent_the_units_are(seed, fall):
    """Norms in the cores are norms of the updates, where units differ by 1e-0 down to 1e-9 of themselves."""
    g = torch.Generator().manual_seed(seed)
    A = torch.randn(1, 40, generator=g) + 10**-fall * torch.randn(4, 40, generator=g)
    B = torch.randn(36, 4, generator=g)
    cores, _ = cores_and_units([LoraWeights({"q": Factors(A, B)}), LoraWeights({"q": Factors(-A, B, 0.3)})])
    core = torch.randn(len(cores.left), cores.right.shape[1], generator=g, dtype=torch.float64)
    assert float(lifted(cores, core).norm()) == pytest.approx(float(core.norm()), rel=2e-5)


def test_products_are_as_exact_as_the_units_ask(monkeypatch):
    """Spread units take float32 Grams, close ones float64, dependent ones a QR."""
    asked = []
    monkeypatch.setattr(frame, "grams", lambda *a, **k: asked.append("double") or grams(*a, **k))
    by_qr = frame._by_qr
    monkeypatch.setattr(frame, "_by_qr", lambda units: asked.append("qr") or by_qr(units))
    for noise, want in ((1.0, []), (1e-3, ["double"]), (0.0, ["double", "qr"])):
        asked.clear()
        A = torch.ones(2, 40) + noise * torch.randn(2, 40, generator=torch.Generator().manual_seed(0))
        cores_and_units([LoraWeights({"q": Factors(A, torch.eye(36, 2))})])
        assert asked == want


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    k=st.integers(1, 10),
    fall=st.floats(0, 12),
)
def test_the_cut_is_the_best_of_its_rank(seed, shape, k, fall):
    """Eckart & Young: the error is that of the singular values left out; both halves carry their root."""
    p, q = shape
    g = torch.Generator().manual_seed(seed)
    core = torch.randn(p, q, generator=g, dtype=torch.float64) * torch.logspace(0, -fall, q, dtype=torch.float64)
    u, values, v = cut(core, k)
    assert u.shape == (p, k)
    assert v.shape == (k, q)
    s = torch.linalg.svdvals(core)
    assert float((u @ v - core).norm()) == pytest.approx(float(s[k:].norm()), abs=1e-9 * float(s[0]))
    assert torch.allclose(values, s[:k], atol=1e-9 * float(s[0]))
    n = len(values)
    assert torch.allclose(u[:, :n].mT @ u[:, :n], torch.diag(values), atol=1e-8 * float(s[0]))
    assert torch.allclose(v[:n] @ v[:n].mT, torch.diag(values), atol=1e-8 * float(s[0]))


def test_the_cut_of_nothing_is_nothing():
    u, _, v = cut(torch.zeros(3, 4, dtype=torch.float64), 2)
    assert not u.any()
    assert not v.any()


def test_turns_are_the_singular_vectors_of_the_stacked_factors():
    adapters = FAMILIES["unequal ranks"]()
    cores, units = cores_and_units(adapters)
    left, right = cores.turns()
    A, B = units.stacked()
    basis_b, basis_a = lifted_basis(cores, left), lifted_basis(cores, right, output=False)
    strength = (basis_b.mT @ B @ B.mT @ basis_b), (basis_a.mT @ A.mT @ A @ basis_a)
    for gram in strength:
        assert relative(torch.diag(gram.diagonal()), gram) < 1e-5
        assert (gram.diagonal().diff() <= 1e-6 * gram[0, 0]).all()


def lifted_basis(cores, turn, output=True):
    """Q_B T [out, p] or Q_A T [in, q]."""
    one = torch.eye(cores.right.shape[1] if output else len(cores.left), dtype=torch.float64)
    B, A = cores.lift(turn, one[: turn.shape[1]]) if output else cores.lift(one[:, : turn.shape[1]], turn.mT)
    return B.double() if output else A.double().mT


def test_families_have_the_shapes_that_tests_assume():
    assert all(dense(a).shape == (OUT, IN) for make in FAMILIES.values() for a in make())
