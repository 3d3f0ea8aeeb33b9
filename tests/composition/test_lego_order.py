"""LoRA-LEGO under another order of its adapters, or of an adapter's ranks: the same ΔW, in every profile."""

import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import RecipeError
from composition.formats import read_adapter
from composition.merging.lego import LegoRecipe, lego
from composition.merging.units import pool
from composition.registry import recipe_from_dict
from composition.weights import Factors, LoraWeights
from tests.composition.random_adapters import relative

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "adapters"
PROFILES = ("paper", "ctm", "nsc")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_four_examples_give_one_update_in_every_order(profile):
    """On the modules of two layers; half-normalised units are all of norm √2, so rounding must have no say."""
    adapters = []
    for name in ("dates", "mood", "orders", "triage"):
        whole = read_adapter(EXAMPLES / name)
        adapters.append(LoraWeights({m: whole[m] for m in whole if ".layers.3." in m or ".layers.20." in m}))
    recipe = LegoRecipe(rank=8, profile=profile, n_init=3)
    wanted = lego(adapters, recipe)
    for order in itertools.islice(itertools.permutations(range(4)), 3, 24, 5):
        found = lego([adapters[i] for i in order], recipe)
        for module in wanted.weights:
            assert relative(found.weights[module].delta(), wanted.weights[module].delta()) < 1e-6, (order, module)
    assert len(wanted.weights) > 5


@st.composite
def tied(draw):
    """Adapters of few small numbers, so that units, norms and distances are equal all over; weights; an order."""
    numbers = st.sampled_from([-1.0, 0.0, 1.0, 0.5])
    count, width = draw(st.integers(2, 4)), draw(st.integers(2, 5))
    adapters = []
    for _ in range(count):
        rank = draw(st.integers(1, 3))
        entries = draw(st.lists(numbers, min_size=2 * rank * width, max_size=2 * rank * width))
        A, B = torch.tensor(entries).view(2, rank, width)
        adapters.append((A, B.mT.contiguous(), draw(st.sampled_from([1.0, 1.0, -0.3]))))
    weights = draw(st.lists(st.sampled_from([1.0, 1.0, 2.0, -1.0]), min_size=count, max_size=count))
    order = draw(st.permutations(range(count)))
    ranks = [draw(st.permutations(range(len(A)))) for A, _, _ in adapters]
    return adapters, weights, order, ranks


@settings(max_examples=60, deadline=None)
@given(given_adapters=tied(), rank=st.integers(1, 4), profile=st.sampled_from(PROFILES), n_init=st.integers(1, 2))
def test_ties_of_every_kind_fall_the_same_way_in_every_order(given_adapters, rank, profile, n_init):
    adapters, weights, order, ranks = given_adapters
    rank = min(rank, sum(len(A) for A, _, _ in adapters))
    plain = [LoraWeights({"q": Factors(A, B, scale)}) for A, B, scale in adapters]
    turned = [
        LoraWeights({"q": Factors(A[list(own)], B[:, list(own)], scale)})
        for (A, B, scale), own in zip([adapters[i] for i in order], [ranks[i] for i in order], strict=True)
    ]
    options = {"rank": rank, "profile": profile, "n_init": n_init}
    one = lego(plain, LegoRecipe(weights=weights, **options)).weights["q"].delta()
    two = lego(turned, LegoRecipe(weights=[weights[i] for i in order], **options)).weights["q"].delta()
    torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-6)


def test_units_that_agree_in_their_first_numbers_are_told_apart_by_the_rest():
    a = torch.zeros(3, 9)
    a[0, 8], a[1, 7], a[2, 8] = 2.0, 1.0, 1.0
    plain, turned = (pool([LoraWeights({"q": Factors(rows, torch.ones(9, 3))})], "q") for rows in (a, a.flip(0)))
    weights = torch.ones(3, dtype=torch.float64)
    one, two = (units.factors[0].A[units.content_order(weights)] for units in (plain, turned))
    assert one.equal(two) and not a.equal(a.flip(0))


def test_a_stored_recipe_is_run_again_only_where_it_means_the_same():
    assert recipe_from_dict({"kind": "lego", "version": 1, "rank": 4, "profile": "ctm"}).profile == "ctm"
    assert recipe_from_dict({"kind": "lego", "version": 1}) == LegoRecipe(layout="compact", rank=16)
    assert LegoRecipe().to_dict()["version"] == 3
    with pytest.raises(RecipeError, match="Leave the version out") as caught:
        recipe_from_dict({"kind": "lego", "version": 1, "profile": "nsc"})
    assert caught.value.field == "version"
