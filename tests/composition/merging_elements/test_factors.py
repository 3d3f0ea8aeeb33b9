"""Elementwise merges of A and B apart: against PEFT's kinds without svd; the balanced gauge; refusals."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError, RecipeError
from composition.merging.elementwise.gauge import canonical
from composition.merging.elementwise.merge import elementwise, linear
from composition.recipes.merge.dropping import DareLinearRecipe, DareTiesRecipe, DellaRecipe
from composition.recipes.merge.elementwise import LinearRecipe
from composition.recipes.merge.trimming import BreadcrumbsRecipe, MagnitudePruneRecipe, TiesRecipe
from composition.weights import Factors, LoraWeights
from tests.composition.merging_elements import references as ref
from tests.composition.random_adapters import random_adapter, relative

WEIGHTS = [(1.0, 0.5, 2.0), (0.7, -0.4, 1.0)]
PEFT = {"weighted_vote": False, "divide": "number", "space": "factors"}


@pytest.fixture
def adapters():
    return ref.adapters_of(3, scales=[2.0, 0.5, 16 / 8**0.5])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_linear_is_pefts(adapters, weights):
    theirs = ref.peft_delta(adapters, weights, "linear")
    assert relative(linear(adapters, LinearRecipe(weights=weights)).weights["q"].delta(), theirs) < 1e-5


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("signs", ["total", "frequency"])
def test_ties_is_pefts(adapters, weights, signs):
    theirs = ref.peft_delta(adapters, weights, "ties", density=0.4, majority_sign_method=signs)
    ours = elementwise(adapters, TiesRecipe(weights=weights, density=0.4, signs=signs, **PEFT))
    assert relative(ours.weights["q"].delta(), theirs) < 1e-5


@pytest.mark.parametrize("weights", WEIGHTS)
def test_magnitude_prune_is_pefts(adapters, weights):
    theirs = ref.peft_delta(adapters, weights, "magnitude_prune", density=0.4)
    ours = elementwise(adapters, MagnitudePruneRecipe(weights=weights, density=0.4, space="factors"))
    assert relative(ours.weights["q"].delta(), theirs) < 1e-5


@pytest.mark.parametrize("weights", WEIGHTS)
def test_dare_is_pefts_with_the_same_masks(adapters, weights, monkeypatch):
    shapes = {"A": (4, 24), "B": (20, 4)}
    masks = [(ref.draw(shape, 7, f"q.{side}", i) < 0.4).float() for side, shape in shapes.items() for i in range(3)]
    theirs = ref.peft_delta(adapters, weights, "dare_linear", monkeypatch, masks, density=0.4)
    ours = elementwise(adapters, DareLinearRecipe(weights=weights, density=0.4, seed=7, space="factors"))
    assert relative(ours.weights["q"].delta(), theirs) < 1e-5
    theirs = ref.peft_delta(adapters, weights, "dare_ties", monkeypatch, masks, density=0.4)
    ours = elementwise(adapters, DareTiesRecipe(weights=weights, density=0.4, seed=7, **PEFT))
    assert relative(ours.weights["q"].delta(), theirs) < 1e-5


@pytest.mark.parametrize(
    "recipe",
    [
        TiesRecipe(space="factors", density=1.0),
        DareTiesRecipe(space="factors", density=1.0),
        DellaRecipe(space="factors", density=1.0),
        BreadcrumbsRecipe(space="factors", density=1.0),
        MagnitudePruneRecipe(space="factors", density=1.0),
        LinearRecipe(),
        LinearRecipe(balanced=True),
        TiesRecipe(space="balanced", density=1.0),
    ],
)
@pytest.mark.parametrize("scale", [2.0, -1.0])
def test_equal_adapters_give_themselves(recipe, scale):
    adapter = random_adapter(0, scale=scale)
    merge = linear if isinstance(recipe, LinearRecipe) else elementwise
    result = merge([adapter] * 3, recipe)
    for module, factors in adapter.items():
        assert relative(result.weights[module].delta(), factors.delta()) < 1e-5


def test_scale_multiplies_the_update(adapters):
    recipe = TiesRecipe(space="factors", density=0.5)
    one, two = (elementwise(adapters, replace(recipe, scale=s)).weights["q"].delta() for s in (1.0, -0.6))
    assert relative(two, -0.6 * one) < 1e-6


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([2.0, -0.5]), c=st.floats(0.01, 100))
def test_the_canonical_factors_are_those_of_the_update(seed, scale, c):
    factors = random_adapter(seed, ranks={"q": 4}, scale=scale)["q"]
    q = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(seed))).Q
    other = Factors(c * q @ factors.A, factors.B @ q.T / c, scale)
    (A, B), (A2, B2) = canonical(factors), canonical(other)
    assert relative(B @ A, factors.delta()) < 1e-6
    assert relative(A @ A.T, B.T @ B) < 1e-6
    assert relative(A2, A) < 1e-3 and relative(B2, B) < 1e-3


def test_balanced_sees_no_gauge_and_factors_do(adapters):
    q = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1))).Q
    f = adapters[0]["q"]
    turned = [LoraWeights({"q": Factors(q @ f.A, f.B @ q.T, f.scale)}), *adapters[1:]]
    for space, least, most in (("balanced", 0.0, 1e-4), ("factors", 0.05, 9.0)):
        recipe = TiesRecipe(space=space, density=0.5)
        one, two = (elementwise(given, recipe).weights["q"].delta() for given in (adapters, turned))
        assert least <= relative(two, one) <= most


def test_a_rank_of_more_than_the_sides_is_padded():
    thin = random_adapter(0, ranks={"q": 6}, width=(4, 5))
    A, B = canonical(thin["q"])
    assert A.shape == (6, 4) and B.shape == (5, 6)
    assert relative(B @ A, thin["q"].delta()) < 1e-6


def test_unequal_ranks_and_a_rank_are_refused():
    mixed = [random_adapter(0, ranks={"q": 3}), random_adapter(1, ranks={"q": 5})]
    with pytest.raises(CompositionError, match=r"TIES on factors needs equal ranks\. Choose the space update"):
        elementwise(mixed, TiesRecipe(space="factors"))
    with pytest.raises(CompositionError, match="linear merge of factors needs equal ranks"):
        linear(mixed, LinearRecipe())
    with pytest.raises(RecipeError, match="on factors the adapters' rank stays"):
        elementwise(mixed[:1] * 2, TiesRecipe(space="factors", rank=2))


def test_a_missing_module_is_merged_from_those_that_have_it():
    one, two = random_adapter(0, ranks={"q": 4, "v": 4}), random_adapter(1, ranks={"q": 4})
    result = elementwise([one, two], TiesRecipe(space="factors", density=1.0))
    assert relative(result.weights["v"].delta(), one["v"].delta()) < 1e-6
