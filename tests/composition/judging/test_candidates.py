"""The grid of a search: what it holds, what it leaves out and refuses, and that equal weights mean what they say."""

import pytest
import torch

from composition.errors import CompositionError, RecipeError
from composition.judging.candidates import equal_weight, exact_mean, grid, label_of, planned, reads_text
from composition.judging.reading import Text
from composition.recipes import MergeSearchRecipe
from composition.registry import METHODS, methods_of, recipe_from_dict
from tests.composition.random_adapters import random_adapter, relative

FREE = [method for method in methods_of("merge") if not method.needs.base_model]


def inputs(*adapters):
    return [(f"me/a{number}", adapter.facts()) for number, adapter in enumerate(adapters)]


PAIR = [random_adapter(1, ranks=4), random_adapter(2, ranks=4)]
UNEQUAL = [random_adapter(1, ranks=4), random_adapter(2, ranks=3)]


def asked(**fields):
    return MergeSearchRecipe(**{"methods": "task-arithmetic,svd", **fields})


def test_the_grid_is_the_product_of_what_a_method_has():
    found = grid(asked(ranks=(2, 4), scales=(0.5, 1.0)), inputs(*PAIR))
    told = [(one.kind, one.rank, getattr(one, "scale", None)) for one in found.candidates]
    assert told == [
        *[("task-arithmetic", rank, scale) for rank in (2, 4) for scale in (0.5, 1.0)],
        *[("svd", rank, None) for rank in (2, 4)],
    ]
    assert found.left_out == {}


def test_a_candidate_is_settled_so_that_it_can_be_run_as_it_is():
    (one,) = grid(asked(methods="svd"), inputs(*UNEQUAL)).candidates
    assert one.rank == 4
    assert label_of(one) == "svd rank 4"


def test_lean_gives_each_adapter_in_turn_more_at_the_same_sum():
    found = grid(asked(lean=3.0, scales=(1.0,)), inputs(*PAIR)).candidates
    by_kind = {kind: [one.weights for one in found if one.kind == kind] for kind in ("task-arithmetic", "svd")}
    assert by_kind["task-arithmetic"] == [None, (1.5, 0.5), (0.5, 1.5)]
    assert by_kind["svd"] == [None, (0.75, 0.25), (0.25, 0.75)]


def test_what_does_not_take_the_adapters_is_left_out_with_its_reason_or_refused_by_name():
    found = grid(MergeSearchRecipe(grid="full"), inputs(*UNEQUAL))
    assert "equal ranks" in found.left_out["average"]
    assert "average" not in {one.kind for one in found.candidates}
    with pytest.raises(CompositionError, match="equal ranks"):
        grid(asked(methods="average"), inputs(*UNEQUAL))


TEXT = Text((0, 1), "train", 20)


@pytest.mark.parametrize("count", [2, 5, 28])
def test_the_usual_grid_is_affordable_and_tries_more_than_one_scale_of_all_that_have_one(count):
    many = [random_adapter(seed, ranks=4) for seed in range(count)]
    text = Text(tuple(range(count)), "train", 20)
    found = grid(MergeSearchRecipe(), inputs(*many), text)
    assert len(found.candidates) <= 24 and not found.left_out
    scales: dict[str, set[float]] = {}
    for one in found.candidates:
        if hasattr(one, "scale"):
            scales.setdefault(one.kind, set()).add(one.scale)
    assert {"regmean", "task-arithmetic", "tsv", "knots"} <= set(scales)
    assert all(len(tried) > 1 for tried in scales.values()), scales
    # What adds all adapters up is tried at fewer times the mean than there are adapters, from more than two on.
    assert max(scales["tsv"]) * count == pytest.approx(3, abs=0.02 * count)


def test_the_full_grid_has_every_method_at_every_scale_and_density_and_what_the_usual_one_has():
    full = grid(MergeSearchRecipe(grid="full"), inputs(*PAIR), TEXT).candidates
    kinds = {one.kind for one in full}
    free = {method.kind for method in FREE if method.offered and method.purpose in ("balance", "conflicts", "exact")}
    assert kinds == free | {"regmean"}
    ties = {(one.scale, one.density) for one in full if one.kind == "ties"}
    assert ties == {(scale, density) for scale in (0.3, 0.6, 1.0) for density in (0.2, 0.5)}
    assert kinds >= {one.kind for one in grid(MergeSearchRecipe(), inputs(*PAIR), TEXT).candidates}


def test_regmean_is_a_candidate_at_every_rank_and_scale_and_says_which_rows_it_reads():
    found = grid(asked(methods="regmean", ranks=(2, 4), seed=3), inputs(*PAIR), TEXT).candidates
    told = [(one.rank, one.scale) for one in found]
    assert told == [(rank, scale) for rank in (2, 4) for scale in (1.0, 1.2, 1.4)]
    assert {(one.split, one.rows, one.seed) for one in found} == {("train", 20, 3)}
    assert all(reads_text(one) for one in found)


def test_without_text_regmean_is_left_out_with_the_reason_or_refused_by_name():
    found = grid(MergeSearchRecipe(), inputs(*PAIR), None, "There is none.")
    assert found.left_out == {"regmean": "There is none."}
    with pytest.raises(RecipeError, match="There is none"):
        grid(asked(methods="regmean"), inputs(*PAIR), None, "There is none.")
    with pytest.raises(RecipeError, match="learns from data of its own"):
        grid(asked(methods="lorahub"), inputs(*PAIR), TEXT)


def test_a_search_that_was_stored_before_means_what_it_meant():
    old = {"kind": "merge-search", "version": 1, "methods": "", "scales": [0.3, 0.6, 1.0], "densities": [0.2, 0.5]}
    found = grid(recipe_from_dict(old), inputs(*PAIR), TEXT).candidates
    full = grid(MergeSearchRecipe(grid="full"), inputs(*PAIR), None, "none").candidates
    assert [one for one in found if one.kind != "regmean"] == list(full)
    facts = [{"splits": {"validation": 50, "train": 50}}] * 2
    assert planned(recipe_from_dict(old), inputs(*PAIR), facts)[0].candidates == full


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"methods": "sdv"}, "no merge 'sdv'"),
        ({"methods": "meteora"}, "no merge 'meteora'"),
        ({"scales": tuple(n / 100 for n in range(-150, 150))}, "at most 256"),
        ({"ranks": (4.5,)}, "whole numbers"),
        ({"densities": ()}, "at least one"),
        ({"methods": "svd", "ranks": (64,)}, "more than"),
    ],
)
def test_refusals_name_the_field(fields, said):
    with pytest.raises(RecipeError, match=said):
        grid(asked(**fields), inputs(*PAIR))


@pytest.mark.parametrize("method", FREE, ids=lambda method: method.kind)
def test_equal_weights_are_what_the_recipe_says_of_them(method):
    """Leaving the weights out is the same as giving each adapter `equal_weight`."""
    pair = PAIR[: method.needs.max_inputs]
    weight = equal_weight(method, len(pair))
    try:
        method.recipe(weights=(weight,) * len(pair)).check(inputs(*pair))
    except CompositionError as refusal:
        pytest.skip(refusal.message)

    def made(**fields):
        weights = method.load()(pair, method.recipe(**fields)).weights
        return torch.cat([weights[name].delta().flatten() for name in sorted(weights)])

    assert relative(made(weights=(weight,) * len(pair)), made()) < 1e-5


def test_the_exact_mean_is_the_mean():
    merged = METHODS["cat"].load()(UNEQUAL, exact_mean(2)).weights
    for module, factors in merged.items():
        dense = sum(one[module].delta().double() for one in UNEQUAL) / 2
        assert torch.allclose(factors.delta().double(), dense, atol=1e-6)
