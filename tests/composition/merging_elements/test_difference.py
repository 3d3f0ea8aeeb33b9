"""Subtraction and orthogonal complements against dense projectors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import RecipeError
from composition.formats import read_adapter
from composition.merging.difference import orthogonal, subtract
from composition.recipes.merge.difference import OrthogonalRecipe, SubtractRecipe
from composition.weights import Factors, LoraWeights, save_peft
from tests import pico
from tests.composition.merging_elements import references as ref
from tests.composition.random_adapters import random_adapter, relative


def projector(columns):
    """Onto the span of columns, dense."""
    return columns @ torch.linalg.pinv(columns)


@pytest.mark.parametrize("weights", [None, (2.0, 0.5, -1.0)])
def test_subtraction_is_exact_and_cut_where_asked(weights):
    a, b, c = three = ref.adapters_of(3, scales=[2.0, -0.5, 1.0])
    w = weights or (1.0, 1.0, 1.0)
    want = (w[0] * a["q"].delta() - w[1] * b["q"].delta() - w[2] * c["q"].delta()).double()
    result = subtract(three, SubtractRecipe(weights=weights))
    assert result.weights["q"].rank == 12
    assert relative(result.weights["q"].delta(), want) < 1e-5
    if weights is None:
        assert result.report["summary"]["error_sum"] == pytest.approx(0, abs=1e-6)
    cut = subtract(three, SubtractRecipe(weights=weights, rank=2))
    assert relative(cut.weights["q"].delta(), ref.best(want, 2)) < 1e-5


def test_a_difference_of_versions_added_to_the_earlier_is_the_later(tmp_path):
    folders = [pico.write_kind(tmp_path / kind, kind, seed=i) for i, kind in enumerate(("plain", "rslora"))]
    old, new = (read_adapter(folder) for folder in folders)
    step = subtract([new, old], SubtractRecipe())
    save_peft(step.weights, tmp_path / "step", base_model=pico.BASE)
    for module, factors in read_adapter(tmp_path / "step").items():
        assert relative(old[module].delta() + factors.delta(), new[module].delta()) < 1e-5


def test_modules_that_one_lacks():
    both, q = random_adapter(0, ranks={"q": 3, "v": 2}), random_adapter(1, ranks={"q": 4, "k": 2})
    result = subtract([both, q], SubtractRecipe())
    assert relative(result.weights["k"].delta(), -q["k"].delta()) < 1e-5
    assert relative(result.weights["v"].delta(), both["v"].delta()) < 1e-5
    rest = orthogonal([both, q], OrthogonalRecipe())
    assert set(rest.weights) == {"q", "v"}
    assert relative(rest.weights["v"].delta(), both["v"].delta()) < 1e-5


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), part=st.sampled_from(["both", "inputs", "outputs"]), count=st.integers(2, 3))
def test_directions_are_taken_away_as_dense_projectors_do(seed, part, count):
    first, *others = given = ref.adapters_of(count, seed, scales=[2.0, -0.5, 1.0])
    want = first["q"].delta().double()
    if part != "inputs":
        want = want - projector(torch.cat([o["q"].B.double() for o in others], 1)) @ want
    if part != "outputs":
        want = want - want @ projector(torch.cat([o["q"].A.double() for o in others]).T)
    result = orthogonal(given, OrthogonalRecipe(part=part))
    assert result.weights["q"].rank == 4
    assert relative(result.weights["q"].delta(), want) < 1e-4
    removed = float((want - first["q"].delta()).norm() / first["q"].delta().norm())
    assert result.report["modules"]["q"]["error_mean"] == pytest.approx(removed, rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 3))
def test_whole_updates_are_taken_away_by_least_squares(seed, count):
    given = ref.adapters_of(count, seed, scales=[2.0, -0.5, 1.0], a_seed=seed)  # one start: the updates overlap
    flat = ref.deltas(given).double().flatten(1)
    found = orthogonal(given, OrthogonalRecipe(part="update")).weights["q"].delta().double().flatten()
    solved = torch.linalg.lstsq(flat[1:].T, flat[0]).solution
    assert relative(found, flat[0] - flat[1:].T @ solved) < 1e-4
    assert float((flat[1:] @ found).abs().max() / flat.norm() / found.norm()) < 1e-5


def test_nothing_is_left_of_what_lies_within_and_twins_are_no_trouble():
    a, b = ref.adapters_of(2)
    for part in ("both", "inputs", "outputs", "update"):
        rest = orthogonal([a, a, a], OrthogonalRecipe(part=part))
        assert float(rest.weights["q"].delta().norm()) < 1e-5 * float(a["q"].delta().norm())
    scaled = LoraWeights({"q": Factors(b["q"].A * 1e3, b["q"].B * 1e-5, -3.0)})
    one = orthogonal([a, b], OrthogonalRecipe()).weights["q"].delta()
    assert relative(orthogonal([a, b, scaled], OrthogonalRecipe()).weights["q"].delta(), one) < 1e-4


def test_weights_mean_nothing_to_directions():
    with pytest.raises(RecipeError, match="directions of an update don't depend on them"):
        orthogonal(ref.adapters_of(2), OrthogonalRecipe(weights=(1.0, 2.0)))
