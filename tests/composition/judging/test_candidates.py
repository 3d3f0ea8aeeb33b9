"""The grid of a search: what it holds, what it leaves out and refuses, and that equal weights mean what they say."""

import pytest
import torch

from composition.errors import CompositionError, RecipeError
from composition.judging.candidates import equal_weight, exact_mean, grid, label_of
from composition.recipes import MergeSearchRecipe
from composition.registry import METHODS, methods_of
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
    found = grid(MergeSearchRecipe(), inputs(*UNEQUAL))
    assert "equal ranks" in found.left_out["average"]
    assert "average" not in {one.kind for one in found.candidates}
    with pytest.raises(CompositionError, match="equal ranks"):
        grid(asked(methods="average"), inputs(*UNEQUAL))


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
