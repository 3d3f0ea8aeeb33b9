"""Every merge on cores against its dense reference, over families of adapters; ranks, weights, refusals, reports."""

import dataclasses

import numpy as np
import pytest
import torch

from composition.errors import CompositionError, RecipeError
from composition.formats import read_adapter
from composition.registry import METHODS
from composition.weights import save_peft
from tests.composition.merging_core import references as dense
from tests.composition.merging_core.families import FAMILIES, related, with_extra_module
from tests.composition.random_adapters import random_adapter, relative

KINDS = ("svd", "task-arithmetic", "tsv", "iso-c", "iso-cts", "core-space", "ctm", "pico", "knots")
K = 4


def merge(kind, adapters, **fields):
    row = METHODS[kind]
    return row.load()(adapters, row.recipe(**fields))


def stored_b(adapters, module):
    return [a[module].scale * a[module].B.double().numpy() for a in adapters if module in a]


def own_b(updates):
    """U S of each ΔW: its B if its A were orthonormal."""
    made = [np.linalg.svd(update, full_matrices=False) for update in updates]
    return [u * s for u, s, _ in made]


def expected(case, adapters, module, weights=None):
    """ΔW' before the cut to K, of the case's recipe with scale 1.5."""
    found = dense.deltas(adapters, module)
    updates = [update for _, update in found]
    w = [weights[i] for i, _ in found] if weights else [1.0] * len(found)
    signed = weights and w
    weighted = [weight * update for weight, update in zip(w, updates, strict=True)]
    pairs = dense.halves(adapters, module)
    spans = np.hstack([B for _, B in pairs]), np.vstack([A for A, _ in pairs])
    k = min(K, *(np.linalg.matrix_rank(span, 1e-6) for span in spans))
    share = [abs(weight) for weight in w]
    return (
        1.5
        * {
            "task-arithmetic": lambda: sum(weighted),
            "tsv": lambda: dense.task_singular_vectors(updates, w),
            "tsv one": lambda: dense.task_singular_vectors(updates, w, 1),
            "iso-c": lambda: dense.isotropic(sum(weighted), k),
            "iso-cts": lambda: (
                dense.common_and_own(weighted, k, k - len(w), 1) if len(w) < k else dense.isotropic(sum(weighted), k)
            ),
            "core-space": lambda: dense.core_space(pairs, lambda cores: dense.ties(cores, 0.3, signed)),
            "core-space ta": lambda: sum(weighted),
            "core-space tsv even": lambda: dense.isotropic(dense.task_singular_vectors(updates, w), k),
            "core-space iso-c": lambda: dense.isotropic(sum(weighted), k),
            "pico": lambda: dense.pico(
                updates, dense.calibration(stored_b(adapters, module)), lambda m: np.tensordot(w, m, 1), share
            ),
            "pico updates tsv": lambda: dense.pico(
                updates, dense.calibration(own_b(updates)), lambda m: dense.task_singular_vectors(m, w), share
            ),
            "knots": lambda: dense.knots(updates, 0.3, signed),
        }[case]()
    )


CASES = {
    "task-arithmetic": ("task-arithmetic", {}),
    "tsv": ("tsv", {}),
    "tsv one": ("tsv", {"triplets": 1}),
    "iso-c": ("iso-c", {}),
    "iso-cts": ("iso-cts", {}),
    "core-space": ("core-space", {"density": 0.3}),
    "core-space ta": ("core-space", {"inner": "ta"}),
    "core-space tsv even": ("core-space", {"inner": "tsv", "isotropic": True}),
    "core-space iso-c": ("core-space", {"inner": "iso-c"}),
    "pico": ("pico", {}),
    "pico updates tsv": ("pico", {"inner": "tsv", "directions": "updates"}),
    "knots": ("knots", {"density": 0.3}),
}


@pytest.mark.parametrize("weights", [None, (1.0, -0.7, 2.0)], ids=["equal", "weighted"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("case", CASES)
def test_methods_follow_the_papers(case, family, weights):
    adapters = FAMILIES[family]()
    kind, fields = CASES[case]
    result = merge(kind, adapters, rank=K, scale=1.5, weights=weights, **fields)
    for module, factors in result.weights.items():
        whole = expected(case, adapters, module, weights)
        want = torch.from_numpy(dense.truncated(whole, factors.rank))
        assert relative(factors.delta(), want) < 1e-4, module
        row = result.report["modules"][module]
        assert row["retained"] == pytest.approx(float(want.norm()) ** 2 / np.linalg.norm(whole) ** 2, abs=1e-4)
        true_sum = sum(update for _, update in dense.deltas(adapters, module)) if not weights else None
        if true_sum is not None:
            error = np.linalg.norm(factors.delta().double().numpy() - true_sum) / np.linalg.norm(true_sum)
            assert row["error_sum"] == pytest.approx(error, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("inner", ["ties", "mean"])
@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("weights", [None, (1.0, -0.7, 2.0)], ids=["equal", "weighted"])
def test_compress_then_merge_follows_its_paper(inner, beta, weights):
    for seed, ranks, scales in ((0, (3, 3, 3), (1.0, 1.0, 1.0)), (1, (2, 4, 3), (3.0, -1.0, 0.5))):
        adapters = related(seed, ranks, scales)
        updates = [update for _, update in dense.deltas(adapters, "q")]
        w = weights or (1.0,) * 3
        inners = {
            "ties": lambda cores, w=w: dense.ties(cores, 0.3, list(w)),
            "mean": lambda cores, w=w: np.tensordot(w, cores, 1) / np.abs(w).sum(),
        }
        want = 1.5 * dense.compress_then_merge(updates, K, beta, inners[inner])
        result = merge("ctm", adapters, rank=K, inner=inner, beta=beta, density=0.3, scale=1.5, weights=weights)
        assert relative(result.weights["q"].delta(), torch.from_numpy(want)) < 1e-3
        assert result.report["summary"]["retained"] == pytest.approx(1.0)


def test_compress_then_merge_of_dare_is_seeded_and_near_ties():
    adapters = related(2)
    one, again = (merge("ctm", adapters, rank=K, inner="dare-ties", seed=3).weights["q"] for _ in range(2))
    other = merge("ctm", adapters, rank=K, inner="dare-ties", seed=4).weights["q"]
    assert torch.equal(one.A, again.A)
    assert not torch.equal(one.delta(), other.delta())
    kept = merge("ctm", adapters, rank=K, inner="dare-ties", dare_density=1.0).weights["q"]
    assert relative(kept.delta(), merge("ctm", adapters, rank=K).weights["q"].delta()) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_results_are_plain_adapters_of_the_asked_rank(kind, tmp_path):
    adapters = with_extra_module(related(7, (1, 4, 2), (1.0, -2.0, 0.5), dtype=torch.bfloat16))
    before = [{m: (f.A.clone(), f.B.clone()) for m, f in a.items()} for a in adapters]
    result = merge(kind, adapters, dtype="float16", rank=5)
    ranks = METHODS[kind].recipe(rank=5).output_ranks([("a", a.facts()) for a in adapters])
    assert {m: f.rank for m, f in result.weights.items()} == ranks
    assert result.weights.dtype == torch.float16
    save_peft(result.weights, tmp_path / "merged", base_model="pico/none")
    again = read_adapter(tmp_path / "merged")
    assert all(relative(again[m].delta(), result.weights[m].delta()) < 1e-3 for m in again)
    assert all(torch.equal(adapters[i][m].A, A) for i, a in enumerate(before) for m, (A, _) in a.items())
    assert result.report["method"] == kind
    assert 0 < result.report["summary"]["retained"] <= 1
    same = merge(kind, adapters, dtype="float16", rank=5).weights
    assert all(torch.equal(same[m].A, f.A) and torch.equal(same[m].B, f.B) for m, f in result.weights.items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_rank_follows_from_the_adapters_where_none_is_given(kind):
    result = merge(kind, related(8, (1, 4, 2)))
    assert result.weights["q"].rank == 4


@pytest.mark.parametrize("kind", KINDS[1:])
def test_what_cant_be_merged_is_refused(kind):
    one, two = random_adapter(0), random_adapter(1)
    with pytest.raises(CompositionError, match="needs at least 2 adapters, got 1"):
        merge(kind, [one])
    with pytest.raises(CompositionError, match="were trained on different base models"):
        merge(kind, [one, random_adapter(2, width=(24, 12))])
    with pytest.raises(RecipeError, match="Use at most 8"):
        merge(kind, [one, two], rank=9)
    with pytest.raises(RecipeError, match="got 1 for 2 adapters"):
        merge(kind, [one, two], weights=(1.0,))
    broken = random_adapter(3)
    broken["model.layers.0.q_proj"].A[0, 0] = torch.nan
    with pytest.raises(CompositionError, match="NaN or infinite"):
        merge(kind, [one, broken])


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_without_effect_merge_to_none(kind):
    zeros = [random_adapter(i, ranks={"q": 2}) for i in range(2)]
    for adapter in zeros:
        adapter["q"].B.zero_()
    result = merge(kind, zeros)
    assert not result.weights["q"].delta().any()


@pytest.mark.parametrize("kind", KINDS)
def test_recipes_say_what_they_mean(kind):
    recipe = METHODS[kind].recipe()
    assert recipe.version == (3 if kind == "svd" else 1)
    assert METHODS[kind].paper or kind == "svd"
    for field in dataclasses.fields(recipe):
        assert field.metadata["help"]
