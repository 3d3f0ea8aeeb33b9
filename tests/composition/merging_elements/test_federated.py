"""Federated rounds: exact averages by samples, the best cut, and shared factors."""

import pytest
import torch

from composition.errors import CompositionError, RecipeError
from composition.merging.federated import federated, flora, shared_factor
from composition.recipes.merge.federated import FederatedRecipe, FloraRecipe, SharedFactorRecipe
from composition.weights import Factors, LoraWeights
from tests.composition.merging_elements import references as ref
from tests.composition.random_adapters import random_adapter, relative

SAMPLES = (100.0, 300.0)
SHARES = (0.25, 0.75)


def clients(**more):
    return [random_adapter(i, ranks={"q": 2 + i}, scale=2.0 - i * 2.5, name=f"client {i}", **more) for i in range(2)]


@pytest.mark.parametrize(("samples", "shares"), [(SAMPLES, SHARES), (None, (0.5, 0.5))])
def test_flora_is_the_exact_average_and_federated_its_best_cut(samples, shares):
    given = clients()
    want = sum(p * c["q"].delta().double() for p, c in zip(shares, given, strict=True))
    exact = flora(given, FloraRecipe(samples=samples, round=7))
    assert exact.weights["q"].rank == 5
    assert relative(exact.weights["q"].delta(), want) < 1e-6
    assert exact.report["summary"]["error_mean"] == pytest.approx(0, abs=1e-6)
    cut = federated(given, FederatedRecipe(samples=samples))
    assert cut.weights["q"].rank == 3
    assert relative(cut.weights["q"].delta(), ref.best(want, 3)) < 1e-5


def test_the_report_says_who_contributed_how_much_in_which_round():
    report = flora(clients(), FloraRecipe(samples=SAMPLES, round=7)).report
    assert report["round"] == 7
    assert report["contributors"] == [
        {"name": "client 0", "samples": 100.0, "share": 0.25},
        {"name": "client 1", "samples": 300.0, "share": 0.75},
    ]
    assert federated(clients(), FederatedRecipe()).report["contributors"][0] == {
        "name": "client 0",
        "samples": None,
        "share": 0.5,
    }


@pytest.mark.parametrize("side", ["A", "B"])
def test_a_shared_factor_stays_and_the_other_is_averaged_exactly(side):
    given = ref.adapters_of(3, scales=[2.0, -0.5, 1.0], a_seed=9)
    if side == "B":
        given = [LoraWeights({"q": Factors(a["q"].B.T, a["q"].A.T, a["q"].scale)}) for a in given]
    want = sum(p * a["q"].delta() for p, a in zip((0.5, 0.3, 0.2), given, strict=True))
    result = shared_factor(given, SharedFactorRecipe(samples=(50, 30, 20)))
    assert result.weights["q"].rank == 4
    assert relative(result.weights["q"].delta(), want) < 1e-6
    assert torch.equal(getattr(result.weights["q"], side), getattr(given[0]["q"], side))


def test_fed_sb_clients_train_r_between_shared_b_and_a():
    g = torch.Generator().manual_seed(0)
    B, A = torch.randn(20, 4, generator=g), torch.randn(4, 24, generator=g)
    inner = [torch.randn(4, 4, generator=g) for _ in range(3)]
    given = [LoraWeights({"q": Factors(A, B @ R, 2.0)}) for R in inner]
    got = shared_factor(given, SharedFactorRecipe()).weights["q"].delta()
    assert relative(got, 2.0 * B @ (sum(inner) / 3) @ A) < 1e-5


def test_unlike_factors_are_refused_with_the_way_out():
    with pytest.raises(CompositionError, match="neither their A nor their B in common") as refused:
        shared_factor(ref.adapters_of(2), SharedFactorRecipe())
    assert refused.value.code == "merge.no_shared_factor"
    with pytest.raises(CompositionError, match=r"needs equal ranks\. Use flora or federated"):
        shared_factor(clients(), SharedFactorRecipe())


@pytest.mark.parametrize(
    ("merge", "recipe"),
    [(flora, FloraRecipe), (federated, FederatedRecipe), (shared_factor, SharedFactorRecipe)],
)
def test_counts_are_checked(merge, recipe):
    given = ref.adapters_of(2, a_seed=3)
    for values, words in (
        ({"samples": (1.0,)}, "got 1 for 2 adapters"),
        ({"samples": (1.0, 0.0)}, "has 0, which leaves it out"),
        ({"weights": (1.0, 2.0)}, "a federated round counts samples"),
    ):
        with pytest.raises(RecipeError, match=words):
            merge(given, recipe(**values))
    with pytest.raises(RecipeError, match="at least 0"):
        recipe(samples=(-1.0, 2.0))


def test_a_client_without_a_module_counts_as_zero_there():
    one, two = random_adapter(0, ranks={"q": 4, "v": 4}), random_adapter(1, ranks={"q": 4}, a_seed=0)
    for merge, recipe in ((flora, FloraRecipe(samples=SAMPLES)), (shared_factor, SharedFactorRecipe(samples=SAMPLES))):
        assert relative(merge([one, two], recipe).weights["v"].delta(), 0.25 * one["v"].delta()) < 1e-6
