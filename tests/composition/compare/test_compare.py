"""What a comparison tells from Grams alone, against dense updates and against the merges themselves."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from composition.errors import CompositionError, RecipeError
from composition.merging.compare import angles, by_weights, judge, signs
from composition.merging.compare.angles import by_chance
from composition.merging.compare.judge import compare_adapters
from composition.merging.compare.signs import sign_conflicts
from composition.recipes.compare import CompareRecipe
from composition.registry import METHODS, methods_of
from composition.weights import Factors, LoraWeights
from tests.composition.random_adapters import random_adapter

BY_CORE = [method.kind for method in methods_of("merge") if method.core and not method.needs.base_model]
EXACT = [kind for kind in BY_CORE if not METHODS[kind].rough]
WIDE = (40, 36)


def adapters(count: int = 3) -> list[LoraWeights]:
    """Adapters with something in common; unlike scales, one of them negative."""
    shared = random_adapter(99, ranks={"q": 3, "v": 3}, width=WIDE)
    found = []
    for seed in range(count):
        own = random_adapter(seed, ranks={"q": 3, "v": 3}, width=WIDE, name=f"a{seed}")
        scale = (1.0, -0.7, 1.6)[seed % 3]
        mixed = {m: Factors(own[m].A + shared[m].A, own[m].B + shared[m].B * scale, scale) for m in own}
        found.append(LoraWeights(mixed, base_model="pico/none", name=f"a{seed}"))
    return found


def dense(weights: LoraWeights) -> dict[str, np.ndarray]:
    return {m: weights[m].scale * (weights[m].B.double() @ weights[m].A.double()).numpy() for m in weights}


def flat(update: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([update[m].ravel() for m in sorted(update)])


def rows(report: dict) -> dict[str, dict]:
    return {row["kind"]: row for row in report["methods"]}


def test_cosines_norms_and_overlaps_are_those_of_the_dense_updates():
    given = adapters()
    report = compare_adapters(given, CompareRecipe(methods=("svd",), sample=0))
    vectors = [flat(dense(adapter)) for adapter in given]
    for place, vector in enumerate(vectors):
        assert report["adapters"][place]["norm"] == pytest.approx(np.linalg.norm(vector), rel=1e-5)
    for i, j in itertools.product(range(3), repeat=2):
        cosine = vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j])
        assert report["pairs"]["cosines"][i][j] == pytest.approx(cosine, abs=1e-5)
        for name, side in (("row_overlap", 1), ("column_overlap", 0)):
            angles = []
            for module in ("q", "v"):
                spaces = [given[place][module] for place in (i, j)]
                spaces = [f.A.double().numpy().T if side else f.B.double().numpy() for f in spaces]
                angles.append(np.mean(np.cos(scipy.linalg.subspace_angles(*spaces)) ** 2))
            assert report["pairs"][name][i][j] == pytest.approx(np.mean(angles), abs=1e-4)


def test_smallest_angles_are_those_of_the_dense_spaces():
    given = adapters()
    pairs = compare_adapters(given, CompareRecipe(methods=("svd",), sample=0))["pairs"]
    for i, j in itertools.product(range(3), repeat=2):
        for name, side in (("row_angle", 1), ("column_angle", 0)):
            angles = []
            for module in ("q", "v"):
                spaces = [given[place][module] for place in (i, j)]
                spaces = [f.A.double().numpy().T if side else f.B.double().numpy() for f in spaces]
                angles.append(np.degrees(scipy.linalg.subspace_angles(*spaces).min()))
            assert pairs[name][i][j] == pytest.approx(np.mean(angles), abs=0.2), (name, i, j)


def test_the_angle_of_chance_is_that_of_random_spaces_and_of_lines_that_are_shared_none():
    drawn = np.random.default_rng(0)
    for p, q, width in ((8, 8, 600), (30, 10, 400), (4, 4, 2000)):
        spaces = [[drawn.standard_normal((width, k)) for k in (p, q)] for _ in range(20)]
        found = np.mean([np.degrees(scipy.linalg.subspace_angles(*pair).min()) for pair in spaces])
        assert by_chance(p, q, width) == pytest.approx(found, abs=3)
    assert by_chance(30, 30, 40) == 0.0, "two large spaces always meet"
    one = random_adapter(1, ranks={"q": 3}, width=WIDE)
    other = random_adapter(2, ranks={"q": 3}, width=WIDE)
    shared = {m: Factors(torch.cat([one[m].A[:1], other[m].A[1:]]), other[m].B, 1.0) for m in other}
    pairs = compare_adapters([one, LoraWeights(shared, base_model="x")], CompareRecipe(methods=("svd",)))["pairs"]
    assert pairs["row_angle"][0][1] < 0.5 < 30 < pairs["column_angle"][0][1]


def test_where_there_are_many_pairs_angles_are_of_some_modules_spread_over_the_model(monkeypatch):
    monkeypatch.setattr(angles, "BLOCKS", 7)
    many = [random_adapter(seed, ranks=2, width=WIDE) for seed in range(3)]
    report = compare_adapters(many, CompareRecipe(methods=("svd",), sample=0))
    assert report["looked_at"]["angles"] == 1 < report["modules"]
    assert report["pairs"]["row_angle"][0][1] > 0


def differing(one: LoraWeights, other: LoraWeights) -> float:
    """The share of all numbers of both updates whose signs differ."""
    updates = dense(one), dense(other)
    both = [module for module in updates[0] if module in updates[1]]
    differ = [updates[0][module] * updates[1][module] < 0 for module in both]
    return sum(part.sum() for part in differ) / sum(part.size for part in differ)


def test_the_share_of_signs_that_differ_is_within_its_error_of_the_dense_one(monkeypatch):
    monkeypatch.setattr(signs, "PLACES", 3000)
    many = [*adapters(3), random_adapter(7, ranks={"q": 2, "k": 3}, width=WIDE)]
    exact = {(i, j): differing(many[i], many[j]) for i, j in itertools.combinations(range(4), 2)}
    found = [sign_conflicts(many, seed=seed) for seed in range(25)]
    assert {one.modules for one in found} == {3}
    missed = [abs(one.share[i][j] - exact[i, j]) > one.error[i][j] for one in found for i, j in exact]
    assert sum(missed) / len(missed) < 0.12
    assert all(0 < one.error[0][1] < 0.05 for one in found)


def test_the_error_of_a_share_told_of_some_modules_covers_the_others(monkeypatch):
    """Modules of one pair differ much from each other: some agree, some don't."""
    monkeypatch.setattr(signs, "READ", 9 * 6 * sum(WIDE))
    missed, drawn = 0, np.random.default_rng(0)
    for seed in range(40):
        ranks = {f"m{n:02}": 2 for n in range(24)}
        one, own = (random_adapter(1000 * k + seed, ranks=ranks, width=WIDE) for k in (0, 1))
        part = {m: float(drawn.uniform(-2, 2)) for m in one}
        mixed = {
            m: Factors(torch.cat([own[m].A, one[m].A]), torch.cat([own[m].B, part[m] * one[m].B], 1), 1.0) for m in own
        }
        other = LoraWeights(mixed, base_model="x")
        found = sign_conflicts([one, other], seed=seed)
        assert found.modules == 9
        missed += abs(found.share[0][1] - differing(one, other)) > found.error[0][1]
    assert missed / 40 <= 0.15
    for freedom in (4, 8, 40):
        assert signs.student(freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=0.02)


def test_signs_of_an_update_and_its_opposite_all_differ_and_absent_ones_are_nothing():
    one = random_adapter(1, ranks={"q": 3}, width=WIDE)
    turned = LoraWeights({m: Factors(one[m].A, one[m].B, -one[m].scale) for m in one}, base_model="x")
    zero = LoraWeights({m: Factors(one[m].A, 0 * one[m].B, 1.0) for m in one}, base_model="x")
    other = random_adapter(2, ranks={"v": 3}, width=WIDE)
    found = sign_conflicts([one, turned, zero, other])
    assert found.share[0][1] == 1.0 and found.error[0][1] == pytest.approx(0.0)
    assert found.share[0][0] == 0.0
    assert found.share[0][2] is None and found.error[0][2] is None and found.share[0][3] is None


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("weights", [None, (1.0, 0.5, -0.4)])
def test_a_method_with_a_core_is_judged_as_its_merge_reports(kind, weights):
    method, given = METHODS[kind], adapters(METHODS[kind].needs.max_inputs or 3)
    weights = weights and weights[: len(given)]
    row = rows(compare_adapters(given, CompareRecipe(rank=4, weights=weights, methods=(kind,))))[kind]
    given_to = {"rank": 4, "weights": weights}
    own = {name: value for name, value in given_to.items() if name in method.recipe.__dataclass_fields__}
    try:
        result = method.load()(given, method.recipe(**own))
    except CompositionError as error:
        assert row["reason"] == error.message
        return
    summary = result.report["summary"]
    for name in ("norm", "error_sum", "error_mean", "balance"):
        assert row[name] == pytest.approx(summary[name], rel=2e-3, abs=2e-3), name
    assert row["kept_inputs"] == pytest.approx(summary["kept_inputs"], rel=2e-3, abs=2e-3)
    assert row["judged_by"] == "cores"
    written = sum(f.A.numel() + f.B.numel() for f in result.weights.values())
    assert row["bytes"] == 4 * written


def test_what_lies_inside_a_results_spaces_is_the_dense_projection():
    given = adapters()
    row = rows(compare_adapters(given, CompareRecipe(rank=4, methods=("svd",))))["svd"]
    result = METHODS["svd"].load()(given, METHODS["svd"].recipe(rank=4)).weights
    for place, adapter in enumerate(given):
        inside = own = 0.0
        for module, update in dense(adapter).items():
            left = scipy.linalg.orth(result[module].B.double().numpy())
            right = scipy.linalg.orth(result[module].A.double().numpy().T)
            inside += np.linalg.norm(left @ left.T @ update @ right @ right.T) ** 2
            own += np.linalg.norm(update) ** 2
        assert row["inside_inputs"][place] == pytest.approx(inside / own, abs=1e-4)


def test_lego_is_an_estimate_near_its_merge():
    given = adapters()
    row = rows(compare_adapters(given, CompareRecipe(rank=4, methods=("lego",))))["lego"]
    summary = METHODS["lego"].load()(given, METHODS["lego"].recipe(rank=4)).report["summary"]
    assert row["judged_by"] == "estimate"
    assert 0.5 < row["norm"] / summary["norm"] < 2


def test_the_spectrum_is_that_of_the_weighted_sum():
    given, weights = adapters(), (1.0, -2.0, 0.5)
    report = compare_adapters(given, CompareRecipe(weights=weights, methods=("svd",)))
    whole = {m: sum(w * dense(a)[m] for a, w in zip(given, weights, strict=True)) for m in ("q", "v")}
    squares = sum(np.linalg.svd(update, compute_uv=False)[:9] ** 2 for update in whole.values())
    for rank, share in report["spectrum"]["kept"]:
        assert share == pytest.approx(squares[:rank].sum() / squares.sum(), abs=1e-5)


def test_methods_without_a_core_are_tried_on_weights_or_left_out_with_a_reason():
    given = adapters()
    kinds = [m.kind for m in methods_of("merge") if not m.core and not m.needs.base_model]
    for sample in (0, 2):
        for kind, row in rows(compare_adapters(given, CompareRecipe(rank=3, sample=sample))).items():
            if kind not in kinds:
                continue
            if sample == 0:
                assert "reason" in row
            elif "reason" not in row:
                assert row["judged_by"] == "2 modules" and len(row["kept_inputs"]) == 3


def test_what_takes_too_long_to_try_is_left_out_with_a_reason(monkeypatch):
    kinds = [m.kind for m in methods_of("merge") if not m.core and not m.needs.base_model]
    monkeypatch.setattr(by_weights, "MOST", 0)
    for kind, row in rows(compare_adapters(adapters(), CompareRecipe(rank=3))).items():
        assert kind not in kinds or "reason" in row


def test_needs_of_text_are_said_and_not_tried():
    for row in compare_adapters(adapters(), CompareRecipe(sample=0))["methods"]:
        if METHODS[row["kind"]].needs.base_model:
            assert "text" in row["reason"]


def without_time(report: dict) -> dict:
    return {**report, "methods": [{k: v for k, v in row.items() if k != "seconds"} for row in report["methods"]]}


@pytest.mark.parametrize("change", ["rotated", "permuted", "padded"])
def test_another_writing_of_the_same_updates_has_the_same_figures(change):
    given, g = adapters(), torch.Generator().manual_seed(5)

    def rewritten(f: Factors) -> Factors:
        if change == "rotated":
            q = torch.linalg.qr(torch.randn(f.rank, f.rank, generator=g))[0]
            return Factors(q @ f.A, f.B @ q.T, f.scale)
        if change == "permuted":
            order = torch.randperm(f.rank, generator=g)
            return Factors(f.A[order], f.B[:, order], f.scale)
        return Factors(torch.cat([f.A, torch.zeros(2, f.in_features)]), torch.nn.functional.pad(f.B, (0, 2)), f.scale)

    other = [LoraWeights({m: rewritten(a[m]) for m in a}, base_model="pico/none", name=a.name) for a in given]
    recipe = CompareRecipe(rank=4, methods=("svd", "cat", "task-arithmetic"), sample=0)
    one, two = compare_adapters(given, recipe), compare_adapters(other, recipe)
    for kind, row in rows(one).items():
        for name in ("norm", "error_sum", "error_mean", "kept_inputs", "inside_inputs"):
            assert rows(two)[kind][name] == pytest.approx(row[name], abs=2e-4), (kind, name)
    for name in ("cosines", "row_overlap", "column_overlap"):
        np.testing.assert_allclose(two["pairs"][name], one["pairs"][name], atol=2e-4)


def test_the_order_of_adapters_turns_the_figures_with_it():
    given = adapters()
    recipe = CompareRecipe(rank=4, methods=("svd", "cat"), sample=0)
    one, two = compare_adapters(given, recipe), compare_adapters(given[::-1], recipe)
    for kind, row in rows(one).items():
        assert rows(two)[kind]["kept_inputs"][::-1] == pytest.approx(row["kept_inputs"], abs=1e-5)
        assert rows(two)[kind]["error_mean"] == pytest.approx(row["error_mean"], abs=1e-5)


def test_missing_modules_unequal_ranks_and_untrained_adapters_are_told_of():
    given = [
        random_adapter(1, ranks={"q": 3, "v": 2}, name="whole"),
        random_adapter(2, ranks={"q": 2}, name="part"),
        LoraWeights({"v": Factors(torch.randn(4, 24), torch.zeros(20, 4), 1.0)}, name="untrained"),
    ]
    report = compare_adapters(given, CompareRecipe(sample=2))
    assert report["pairs"]["cosines"][0][2] is None and report["pairs"]["row_overlap"][1][2] is None
    assert "untrained changes nothing: all its updates are zero." in report["sentences"]
    assert "ranks" in rows(report)["average"]["reason"]
    assert rows(report)["cat"]["kept_inputs"][2] is None


def test_an_adapter_given_twice_is_half_of_the_mean():
    one, other = adapters(2)
    report = compare_adapters([one, one, other], CompareRecipe(rank=9, methods=("svd", "cat"), sample=0))
    assert report["pairs"]["cosines"][0][1] == pytest.approx(1, abs=1e-5)
    assert report["pairs"]["row_overlap"][0][1] == pytest.approx(1, abs=1e-4)
    first, second = flat(dense(one)), flat(dense(other))
    mean = (2 * first + second) / 3
    for name, factor in (("svd", 1.0), ("cat", 3.0)):
        kept = [factor * (mean @ own) / (own @ own) for own in (first, first, second)]
        assert rows(report)[name]["kept_inputs"] == pytest.approx(kept, abs=2e-3)


def test_adapters_of_one_start_are_known_and_get_the_mean():
    given = [random_adapter(seed, ranks={"q": 4, "v": 4}, a_seed=7, name=f"a{seed}") for seed in range(3)]
    report = compare_adapters(given, CompareRecipe(sample=0))
    assert any("one random start" in sentence for sentence in report["sentences"])
    assert report["recommended"]["without_text"]["kind"] == "svd"
    assert "one random start" in report["recommended"]["without_text"]["reason"]


def test_long_work_is_done_on_some_modules_spread_over_the_model(monkeypatch):
    ranks = {f"model.layers.{n}.q_proj": 2 for n in range(40)}
    given = [random_adapter(seed, ranks=ranks) for seed in range(2)]
    monkeypatch.setattr(judge, "WORK", 6 * 104**3 * 3)
    report = compare_adapters(given, CompareRecipe(methods=("svd",), sample=0, seconds=1.0))
    assert (report["judged"], report["modules"]) == (6, 40)
    chosen = sorted(int(name.split(".")[2]) for name in judge.chosen_modules({(2, 2): list(ranks)}, 3, 1.0))
    assert max(b - a for a, b in itertools.pairwise([0, *chosen, 39])) <= 20
    monkeypatch.setattr(judge, "WORK", 0)
    assert compare_adapters(given, CompareRecipe(methods=("svd",), sample=0))["judged"] == judge.LEAST


@pytest.mark.parametrize(
    ("recipe", "field"),
    [({"rank": 99}, "rank"), ({"weights": (1.0,)}, "weights"), ({"weights": (1.0, 0.0, 1.0)}, "weights")],
)
def test_what_does_not_fit_is_refused_by_its_field(recipe, field):
    with pytest.raises(RecipeError) as refused:
        compare_adapters(adapters(), CompareRecipe(**recipe))
    assert refused.value.field == field


def test_one_adapter_other_shapes_and_unknown_methods_are_refused():
    with pytest.raises(CompositionError, match="at least 2"):
        compare_adapters(adapters()[:1], CompareRecipe())
    with pytest.raises(CompositionError, match="different base models"):
        compare_adapters([random_adapter(1), random_adapter(2, width=(10, 20))], CompareRecipe())
    with pytest.raises(RecipeError, match="at least one of"):
        CompareRecipe(methods=("nothing",))
    with pytest.raises(RecipeError):
        CompareRecipe(methods=())
