"""Elementwise merges on ΔW: against mergekit's formulas, PEFT's svd kinds, and a dense SVD."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError, RecipeError
from composition.formats import read_adapter
from composition.merging.elementwise import updates
from composition.merging.elementwise.merge import elementwise
from composition.recipes.merge.dropping import DareLinearRecipe, DareTiesRecipe, DellaRecipe
from composition.recipes.merge.trimming import BreadcrumbsRecipe, MagnitudePruneRecipe, TiesRecipe
from composition.weights import Factors, LoraWeights, save_peft
from tests import pico
from tests.composition.merging_elements import references as ref
from tests.composition.random_adapters import random_adapter, relative

FULL = 20
WEIGHTS = (1.0, 0.5, 2.0)


@pytest.fixture
def adapters():
    return ref.adapters_of(3, scales=[2.0, 0.5, 16 / 8**0.5])


def kept(adapters, recipe):
    """[n, out, in]: the updates after the recipe's mask, by the slow references."""
    rows = []
    for i, x in enumerate(ref.deltas(adapters)):
        draws = ref.draw(x.shape, getattr(recipe, "seed", 0), ref.MODULE, i)
        rows.append(
            {
                "ties": lambda x=x: ref.magnitude(x, recipe.density),
                "magnitude-prune": lambda x=x: ref.magnitude(x, recipe.density),
                "breadcrumbs": lambda x=x: ref.middle(x, recipe.density, recipe.gamma),
                "dare-linear": lambda x=x, d=draws: ref.random(x, recipe.density, recipe.rescale, d),
                "dare-ties": lambda x=x, d=draws: ref.random(x, recipe.density, recipe.rescale, d),
                "della": lambda x=x, d=draws: ref.ranked(x, recipe.density, recipe.epsilon, recipe.rescale, d),
            }[recipe.kind]()
        )
    return torch.stack(rows)


MERGEKIT = [
    (TiesRecipe(rank=FULL, weights=WEIGHTS, density=0.3), "total", True),
    (TiesRecipe(rank=FULL, weights=WEIGHTS, density=0.3, signs="frequency", scale=0.7), "frequency", True),
    (TiesRecipe(rank=FULL, weights=(1.0, -0.5, 2.0), density=0.5, divide="nothing"), "total", False),
    (TiesRecipe(rank=FULL, weights=WEIGHTS, density=1.0), "total", True),
    (MagnitudePruneRecipe(rank=FULL, weights=WEIGHTS, density=0.1), None, False),
    (DareLinearRecipe(rank=FULL, weights=WEIGHTS, density=0.4, seed=5), None, False),
    (DareLinearRecipe(rank=FULL, weights=(1.0, -0.5, 2.0), density=0.4, rescale="l1"), None, False),
    (DareTiesRecipe(rank=FULL, weights=WEIGHTS, density=0.4, divide="nothing", rescale="l1"), "total", False),
    (DareTiesRecipe(rank=FULL, weights=WEIGHTS, density=0.4, rescale="none", signs="frequency"), "frequency", True),
    (DellaRecipe(rank=FULL, weights=WEIGHTS, density=0.5, epsilon=0.2, rescale="l1"), "total", True),
    (DellaRecipe(rank=FULL, weights=WEIGHTS, density=0.5, epsilon=0.1, signs="none"), None, False),
    (BreadcrumbsRecipe(rank=FULL, weights=WEIGHTS, density=0.6, gamma=0.1), None, False),
    (BreadcrumbsRecipe(rank=FULL, weights=WEIGHTS, density=0.6, gamma=0.6, signs="total"), "total", True),
    (BreadcrumbsRecipe(rank=FULL, weights=WEIGHTS, density=0.6, gamma=0.0), None, False),
]


@pytest.mark.parametrize(("recipe", "consensus", "normalize"), MERGEKIT)
def test_at_full_rank_it_is_mergekits_task_vector(adapters, recipe, consensus, normalize):
    want = ref.mergekit(kept(adapters, recipe), recipe.weights, consensus, normalize) * recipe.scale
    result = elementwise(adapters, recipe)
    assert relative(result.weights["q"].delta(), want) < 1e-5
    row = result.report["modules"]["q"]
    assert row["retained"] == pytest.approx(1)
    assert row["norm"] == pytest.approx(float(want.norm()), rel=1e-5)


@pytest.mark.parametrize(("recipe", "consensus", "normalize"), MERGEKIT[::3])
@pytest.mark.parametrize("k", [1, 5])
def test_it_is_cut_to_the_best_rank_k(adapters, recipe, consensus, normalize, k):
    want = ref.mergekit(kept(adapters, recipe), recipe.weights, consensus, normalize) * recipe.scale
    cut = ref.best(want, k)
    result = elementwise(adapters, replace(recipe, rank=k))
    assert result.weights["q"].rank == k
    assert relative(result.weights["q"].delta(), cut) < 1e-5
    share = float(cut.square().sum() / want.double().square().sum())
    assert result.report["summary"]["retained"] == pytest.approx(share, rel=1e-5)


@pytest.mark.parametrize("weights", [(1.0, 0.5, 2.0), (0.7, -0.4, 1.0)])
@pytest.mark.parametrize("signs", ["total", "frequency"])
def test_it_is_pefts_ties_svd(adapters, weights, signs):
    theirs = ref.peft_delta(adapters, weights, "ties_svd", density=0.4, svd_rank=3, majority_sign_method=signs)
    recipe = TiesRecipe(rank=3, weights=weights, density=0.4, signs=signs, weighted_vote=False, divide="number")
    assert relative(elementwise(adapters, recipe).weights["q"].delta(), theirs) < 1e-5


def test_it_is_pefts_magnitude_prune_svd(adapters):
    theirs = ref.peft_delta(adapters, WEIGHTS, "magnitude_prune_svd", density=0.4, svd_rank=3)
    ours = elementwise(adapters, MagnitudePruneRecipe(rank=3, weights=WEIGHTS, density=0.4))
    assert relative(ours.weights["q"].delta(), theirs) < 1e-5


def test_it_is_pefts_dare_svd_with_the_same_masks(adapters, monkeypatch):
    masks = [(ref.draw((20, 24), 3, "q", i) < 0.4).float() for i in range(3)]
    theirs = ref.peft_delta(adapters, WEIGHTS, "dare_linear_svd", monkeypatch, masks, density=0.4, svd_rank=3)
    ours = elementwise(adapters, DareLinearRecipe(rank=3, weights=WEIGHTS, density=0.4, seed=3))
    assert relative(ours.weights["q"].delta(), theirs) < 1e-5
    theirs = ref.peft_delta(adapters, WEIGHTS, "dare_ties_svd", monkeypatch, masks, density=0.4, svd_rank=3)
    recipe = DareTiesRecipe(rank=3, weights=WEIGHTS, density=0.4, seed=3, weighted_vote=False, divide="number")
    assert relative(elementwise(adapters, recipe).weights["q"].delta(), theirs) < 1e-5


EACH = [
    TiesRecipe(rank=6, density=0.3),
    BreadcrumbsRecipe(rank=6, density=0.6, gamma=0.1),
    DareTiesRecipe(rank=6, density=0.4, rescale="l1"),
    DellaRecipe(rank=6, density=0.5),
]


@pytest.mark.parametrize("recipe", EACH)
@pytest.mark.parametrize("room", [0, 1000, 2**20])
def test_rows_and_what_is_kept_change_nothing(adapters, recipe, room, monkeypatch):
    whole = elementwise(adapters, recipe).weights["q"].delta()
    monkeypatch.setattr(updates, "BLOCK", 3 * 4 * 24 * 3)
    monkeypatch.setattr(updates, "KEPT", room)
    assert relative(elementwise(adapters, recipe).weights["q"].delta(), whole) < 1e-6


@pytest.mark.parametrize("recipe", EACH)
def test_same_inputs_same_bits_and_another_seed_another_draw(adapters, recipe):
    one, two = (elementwise(adapters, recipe).weights["q"] for _ in range(2))
    assert torch.equal(one.A, two.A) and torch.equal(one.B, two.B)
    if hasattr(recipe, "seed"):
        other = elementwise(adapters, replace(recipe, seed=1)).weights["q"]
        assert relative(other.delta(), one.delta()) > 1e-3


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations(range(3)), weights=st.sampled_from([None, WEIGHTS]))
def test_what_draws_nothing_sees_neither_order_nor_gauge(seed, order, weights):
    given = ref.adapters_of(3, seed, scales=[2.0, -0.5, 1.0])
    g = torch.Generator().manual_seed(seed)
    other = []
    for i in order:
        f = given[i]["q"]
        q = torch.linalg.qr(torch.randn(6, 4, generator=g)).Q  # [6, 4]: turned, and padded by dependent ranks
        other.append(LoraWeights({"q": Factors(3 * q @ f.A, f.B @ q.T / 3, f.scale)}))
    turned = None if weights is None else tuple(weights[i] for i in order)
    for recipe in (
        TiesRecipe(rank=4, density=0.3, weights=weights),
        BreadcrumbsRecipe(rank=4, density=0.6, gamma=0.1, weights=weights),
    ):
        one = elementwise(given, recipe).weights["q"].delta()
        two = elementwise(other, replace(recipe, weights=turned)).weights["q"].delta()
        # A number at the edge of what is kept may fall on either side by rounding.
        assert relative(two, one) < 0.05


def test_unequal_ranks_and_missing_modules_merge_what_is_there():
    one = random_adapter(1, ranks={"q": 3, "v": 2}, scale=2.0)
    two = random_adapter(2, ranks={"q": 5}, scale=-1.0)
    result = elementwise([one, two], TiesRecipe(rank=20, density=0.5, weights=(1.0, 3.0)))
    alone = ref.magnitude(one["v"].delta(), 0.5)
    assert relative(result.weights["v"].delta(), alone) < 1e-5
    kept = torch.stack([ref.magnitude(a["q"].delta(), 0.5) for a in (one, two)])
    assert relative(result.weights["q"].delta(), ref.mergekit(kept, (1.0, 3.0), "total", True)) < 1e-5
    plain = elementwise([one, two], MagnitudePruneRecipe(rank=20, density=0.5))
    assert relative(plain.weights["q"].delta(), kept.sum(0) / 2) < 1e-5
    assert relative(plain.weights["v"].delta(), alone / 2) < 1e-5


def test_one_adapter_alone_is_pruned_and_compressed():
    adapter = ref.adapters_of(1)
    result = elementwise(adapter, TiesRecipe(rank=2, density=0.3))
    assert relative(result.weights["q"].delta(), ref.best(ref.magnitude(ref.deltas(adapter)[0], 0.3), 2)) < 1e-5


def test_the_rank_left_open_is_the_adapters_largest_and_may_exceed_their_sum():
    pair = [random_adapter(i, ranks={"q": 2 + i}) for i in range(2)]
    assert elementwise(pair, TiesRecipe()).weights["q"].rank == 3
    assert elementwise(pair, TiesRecipe(rank=15)).weights["q"].rank == 15
    with pytest.raises(RecipeError, match=r"more than the largest module can have, 20\. Use at most 20"):
        elementwise(pair, TiesRecipe(rank=21))


def test_zero_updates_stay_zero_and_what_is_not_finite_is_refused_by_name():
    zero = LoraWeights({"q": Factors(torch.randn(2, 5), torch.zeros(4, 2))}, name="zero")
    for recipe in EACH:
        assert float(elementwise([zero, zero], replace(recipe, rank=2)).weights["q"].delta().norm()) == 0
    broken = LoraWeights({"q": Factors(torch.full((2, 5), torch.inf), torch.ones(4, 2))}, name="broken")
    with pytest.raises(CompositionError, match="q of broken holds NaN or infinite"):
        elementwise([zero, broken], TiesRecipe(rank=2))
    huge = LoraWeights({"q": Factors(torch.full((2, 5), 1e30), torch.full((4, 2), 1e30))})
    with pytest.raises(CompositionError, match="goes beyond float32"):
        elementwise([huge], TiesRecipe(rank=2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_and_out(dtype):
    given = ref.adapters_of(2, dtype=dtype)
    result = elementwise(given, TiesRecipe(rank=20, density=0.5, dtype="auto"))
    assert result.weights.dtype == dtype
    kept = torch.stack([ref.magnitude(x, 0.5) for x in ref.deltas(given)])
    assert relative(result.weights["q"].delta(), ref.mergekit(kept, (1.0, 1.0), "total", True)) < 2e-2


def test_it_is_saved_and_loaded_by_peft(tmp_path):
    folders = [pico.write_kind(tmp_path / k, k, seed=i) for i, k in enumerate(("plain", "rslora"))]
    adapters = [read_adapter(folder) for folder in folders]
    result = elementwise(adapters, TiesRecipe(rank=3, density=0.4))
    save_peft(result.weights, tmp_path / "merged", base_model=pico.BASE)
    want = {m: result.weights[m].delta() for m in result.weights}
    assert relative(pico.peft_logits(tmp_path / "merged"), pico.delta_logits(want)) < 1e-5


def test_epsilon_must_leave_probabilities():
    with pytest.raises(RecipeError, match=r"probabilities outside 0 to 1\. Use less than 0\.1"):
        DellaRecipe(density=0.1)
    with pytest.raises(RecipeError, match=r"at least 0\.0001"):
        TiesRecipe(density=0.0)
