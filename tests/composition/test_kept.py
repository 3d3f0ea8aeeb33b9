"""What a merge keeps of each adapter: ⟨ΔW', ΔW_i⟩ / ‖ΔW_i‖² in every method's report, against the dense updates."""

import pytest
import torch

from composition.errors import CompositionError
from composition.merging import diagnostics
from composition.merging.units import pool
from composition.recipes import CatRecipe
from composition.registry import METHODS, methods_of
from composition.weights import Factors, LoraWeights
from tests.composition.random_adapters import random_adapter

ALONE = [method.kind for method in methods_of("merge") if not method.needs.base_model]


def adapters() -> list[LoraWeights]:
    """Unlike scales, one of them negative; the last lacks a module."""
    found = [random_adapter(seed, ranks={"q": 3, "v": 3}, scale=(1.0, -0.5, 2.0)[seed]) for seed in range(3)]
    return [*found[:2], LoraWeights({"q": found[2]["q"]}, base_model="pico/none")]


def dense(weights: LoraWeights, module: str) -> torch.Tensor:
    f = weights[module]
    return f.scale * f.B.double() @ f.A.double()


def expected(result: LoraWeights, inputs: list[LoraWeights]) -> tuple[dict, list[float]]:
    """({module: [n]}, [n] of the whole), None where an adapter lacks the module."""
    rows, shared, squares = {}, [0.0] * len(inputs), [0.0] * len(inputs)
    for module in result:
        rows[module] = [None] * len(inputs)
        for i, adapter in enumerate(inputs):
            if module in adapter:
                own = dense(adapter, module)
                part, square = float((dense(result, module) * own).sum()), float((own * own).sum())
                rows[module][i] = part / square
                shared[i], squares[i] = shared[i] + part, squares[i] + square
    return rows, [part / square for part, square in zip(shared, squares, strict=True)]


@pytest.mark.parametrize("kind", ALONE)
def test_every_method_says_what_it_keeps_of_each_adapter(kind):
    given = adapters()
    method = METHODS[kind]
    if method.needs.max_inputs:
        given = given[: method.needs.max_inputs]
    try:
        result = method.load()(given, method.recipe())
    except CompositionError:
        given = [random_adapter(seed, ranks={"q": 3, "v": 3}, a_seed=0) for seed in range(len(given))]
        result = method.load()(given, method.recipe())
    rows, whole = expected(result.weights, given)
    for module, row in result.report["modules"].items():
        assert row["kept_inputs"] == pytest.approx(rows[module], abs=1e-4), module
    summary = result.report["summary"]
    assert summary["kept_inputs"] == pytest.approx(whole, abs=1e-4)
    assert summary["balance"] == pytest.approx(max(min(whole), 0) / max(whole) if max(whole) > 0 else 0, abs=1e-3)


def test_a_sum_of_updates_at_right_angles_keeps_all_of_each():
    eye = torch.eye(8)
    apart = [LoraWeights({"q": Factors(eye[i : i + 2], eye[:, i : i + 2], 1.0 + i)}) for i in (0, 2, 4)]
    summary = METHODS["cat"].load()(apart, METHODS["cat"].recipe()).report["summary"]
    assert summary["kept_inputs"] == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)
    assert summary["balance"] == pytest.approx(1.0, abs=1e-6)


def test_factors_from_outside_the_span_are_measured_alike():
    given = [random_adapter(seed, ranks={"q": 2}) for seed in range(2)]
    report = diagnostics.begin(given, CatRecipe())
    A, B = torch.randn(3, 24), torch.randn(20, 3)
    report.measure(pool(given, "q"), A, B, scale=-0.7)
    rows, whole = expected(LoraWeights({"q": Factors(A, B, -0.7)}), given)
    assert report.modules["q"]["kept_inputs"] == pytest.approx(rows["q"], rel=1e-6)
    assert report.to_dict()["summary"]["kept_inputs"] == pytest.approx(whole, rel=1e-6)


def test_untrained_inputs_have_no_share_and_a_result_against_all_of_them_no_balance():
    given = [random_adapter(0, ranks={"q": 2}), random_adapter(1, ranks={"q": 2})]
    zero = LoraWeights({"q": Factors(given[0]["q"].A, torch.zeros(20, 2), 1.0)})
    summary = METHODS["svd"].load()([given[0], zero], METHODS["svd"].recipe()).report["summary"]
    assert summary["kept_inputs"] == [pytest.approx(0.5, abs=1e-5), None] and summary["balance"] == pytest.approx(1.0)
    against = METHODS["cat"].load()(given, METHODS["cat"].recipe(weights=(-1.0, -1.0))).report["summary"]
    assert max(against["kept_inputs"]) < 0 and against["balance"] == 0
