"""LoRA-LEGO against the slow reference, through files and peft; its profiles, diagnostics, invariances and refusals."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composition.errors import Cancelled, CompositionError, RecipeError
from composition.formats import read_adapter
from composition.merging.lego import LegoRecipe, lego
from composition.weights import Factors, LoraWeights, save_peft
from tests import pico
from tests.composition.random_adapters import (
    random_adapter,
    raw_units,
    reference_delta,
    reference_labels,
    relative,
)

KIND_MIXES = [
    ("plain", "plain", "plain"),
    ("rslora", "plain"),
    ("rank_pattern", "plain", "both_patterns"),
    ("alpha_pattern", "rslora"),
    ("regex", "one_layer", "few_targets"),
    ("few_targets", "few_targets"),
]


def mean_rank(adapters, module):
    ranks = [adapter[module].rank for adapter in adapters if module in adapter]
    return sum(ranks) / len(ranks)


@pytest.mark.parametrize("kinds", KIND_MIXES, ids="+".join)
def test_saved_merge_run_by_peft_is_the_slow_references_update(tmp_path, kinds):
    folders = [pico.write_kind(tmp_path / f"{i}", kind, seed=i) for i, kind in enumerate(kinds)]
    adapters = [read_adapter(folder) for folder in folders]
    result = lego(adapters, LegoRecipe(rank=4, n_init=2))
    save_peft(result.weights, tmp_path / "merged", base_model=pico.BASE)
    deltas = {
        module: reference_delta(adapters, module, labels, r=mean_rank(adapters, module)).float()
        for module, labels in result.labels.items()
    }
    assert set(deltas) == {module for adapter in adapters for module in adapter}
    expected = pico.delta_logits(deltas)
    assert relative(pico.peft_logits(tmp_path / "merged"), expected) < 1e-5
    assert relative(pico.delta_logits({}), expected) > 1e-3


def test_on_structured_adapters_even_the_clusters_come_from_scikit_learn(tmp_path):
    folders = [
        pico.write_adapter(tmp_path / f"{i}", seed=i, init_seed=7, r=4, lora_alpha=4, b_scale=0.05) for i in range(4)
    ]
    adapters = [read_adapter(folder) for folder in folders]
    result = lego(adapters, LegoRecipe(rank=4))
    deltas = {m: reference_delta(adapters, m, reference_labels(adapters, m, 4), r=4).float() for m in adapters[0]}
    for module, delta in deltas.items():
        assert relative(result.weights[module].delta(), delta) < 1e-5
    save_peft(result.weights, tmp_path / "merged", base_model=pico.BASE)
    assert relative(pico.peft_logits(tmp_path / "merged"), pico.delta_logits(deltas)) < 1e-5
    row = result.report["modules"]["model.layers.0.self_attn.q_proj"]
    assert row["cluster_sizes"] == [4, 4, 4, 4]
    assert row["sources"] == [[1, 1, 1, 1]] * 4
    assert row["seed_change"] == 0
    assert result.report["warnings"] == []


def test_conv1d_merges_on_gpt2(tmp_path):
    fields = {"target_modules": ["c_attn", "c_proj"], "r": 4, "lora_alpha": 8, "fan_in_fan_out": True}
    adapters = [
        read_adapter(pico.write_adapter(tmp_path / f"{i}", model=pico.pico_gpt2(), seed=i, **fields)) for i in range(2)
    ]
    result = lego(adapters, LegoRecipe(rank=4))
    save_peft(result.weights, tmp_path / "merged", base_model="pico/gpt2")
    deltas = {m: reference_delta(adapters, m, labels, r=4).float() for m, labels in result.labels.items()}
    ours = pico.peft_logits(tmp_path / "merged", pico.pico_gpt2())
    assert relative(ours, pico.delta_logits(deltas, pico.pico_gpt2())) < 1e-5


@pytest.mark.parametrize(
    ("profile", "r_ref", "r"),
    [("paper", "mean", 5), ("paper", "max", 8), ("paper", "sum", 15), ("ctm", "mean", 15), ("nsc", "mean", 5)],
)
def test_output_factor_of_each_profile(profile, r_ref, r):
    adapters = [random_adapter(i, ranks={"q": rank}) for i, rank in enumerate((8, 3, 4))]
    result = lego(adapters, LegoRecipe(rank=6, profile=profile, r_ref=r_ref))
    expected = reference_delta(adapters, "q", result.labels["q"], r=r)
    assert relative(result.weights["q"].delta(), expected) < 1e-5


def test_nsc_clusters_half_normalised_units():
    """Two groups told apart by the direction of a only, while b is long and says otherwise."""
    a = torch.eye(2, 10).repeat(4, 1)
    b = 50 * torch.randn(10, 8, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, 1.5, 8)
    b[:, 1::2] = b[:, 0::2]
    adapters = [LoraWeights({"q": Factors(a, b)})]
    by_direction = lego(adapters, LegoRecipe(rank=2, profile="nsc")).labels["q"]
    by_length = lego(adapters, LegoRecipe(rank=2, profile="paper")).labels["q"]
    assert len(set(by_length[:6])) == 1
    assert len(set(by_direction[:6])) == 2


def test_weights_enter_as_scales_and_signs():
    adapters = [random_adapter(i, scale=2.0) for i in range(3)]
    weights = (0.5, 2.0, -1.0)
    result = lego(adapters, LegoRecipe(rank=4, weights=weights))
    scaled = [
        LoraWeights({m: Factors(f.A, f.B, f.scale * w) for m, f in adapter.items()})
        for adapter, w in zip(adapters, weights, strict=True)
    ]
    same = lego(scaled, LegoRecipe(rank=4))
    for module, labels in result.labels.items():
        assert (
            relative(result.weights[module].delta(), reference_delta(adapters, module, labels, r=4, weights=weights))
            < 1e-5
        )
        assert relative(result.weights[module].delta(), same.weights[module].delta()) < 1e-5


def test_rank_is_capped_by_the_units_a_module_has(tmp_path):
    adapters = [random_adapter(0, ranks={"q": 4, "v": 1}), random_adapter(1, ranks={"q": 4, "o": 2})]
    result = lego(adapters, LegoRecipe(rank=6))
    assert {m: f.rank for m, f in result.weights.items()} == {"o": 2, "q": 6, "v": 1}
    save_peft(result.weights, tmp_path, base_model="org/base")
    again = read_adapter(tmp_path)
    assert {m: f.rank for m, f in again.items()} == {"o": 2, "q": 6, "v": 1}
    assert {f.scale for f in again.values()} == {1.0}
    assert result.report["modules"]["v"]["norm_inputs"][1] is None
    assert any("missing in some adapters" in warning for warning in result.report["warnings"])


def test_one_adapter_at_its_own_rank_is_itself_and_below_is_compressed():
    adapter = random_adapter(0, scale=3.0)
    whole = lego([adapter], LegoRecipe(rank=4))
    half = lego([adapter], LegoRecipe(rank=2))
    for module in adapter:
        assert relative(whole.weights[module].delta(), adapter[module].delta()) < 1e-6
        assert half.weights[module].rank == 2
    assert whole.report["summary"]["error_sum"] < 1e-6


def test_untrained_adapters_whose_b_is_zero_give_zero():
    adapter = LoraWeights({"q": Factors(torch.randn(4, 8), torch.zeros(6, 4))})
    result = lego([adapter, adapter], LegoRecipe(rank=3))
    assert float(result.weights["q"].delta().norm()) == 0
    assert result.report["modules"]["q"]["error_sum"] is None


def test_different_starts_are_warned_of_and_shown():
    adapters = [random_adapter(i, ranks={"q": 8}, width=(400, 400)) for i in range(4)]
    result = lego(adapters, LegoRecipe(rank=8))
    assert any("found little to group" in warning for warning in result.report["warnings"])
    assert result.report["summary"]["inertia_ratio"] > 0.6
    change = result.report["modules"]["q"]["seed_change"]
    other = lego(adapters, LegoRecipe(rank=8, seed=1))
    assert change == pytest.approx(relative(other.weights["q"].delta(), result.weights["q"].delta()), rel=1e-4)


def test_report_holds_the_dense_figures():
    adapters = [random_adapter(i, ranks={"q": 4 + i}) for i in range(3)]
    weights = (1.0, 3.0, 2.0)
    result = lego(adapters, LegoRecipe(rank=5, weights=weights))
    row, ours = result.report["modules"]["q"], result.weights["q"].delta()
    deltas = [adapter["q"].delta() for adapter in adapters]
    total = sum(w / 2 * delta for w, delta in zip(weights, deltas, strict=True))
    assert row["norm"] == pytest.approx(float(ours.norm()), rel=1e-5)
    assert row["norm_inputs"] == pytest.approx([float(delta.norm()) for delta in deltas], rel=1e-5)
    assert row["error_sum"] == pytest.approx(relative(ours, total), rel=1e-5)
    assert row["error_mean"] == pytest.approx(relative(ours, total / 3), rel=1e-5)
    points = raw_units(adapters, "q", weights)
    labels = result.labels["q"]
    within = sum(((points[labels == c] - points[labels == c].mean(0)) ** 2).sum() for c in range(5))
    assert row["inertia_ratio"] == pytest.approx(within / ((points - points.mean(0)) ** 2).sum(), rel=1e-5)
    assert np.array(row["sources"]).sum(0).tolist() == [4, 5, 6]
    assert row["cluster_sizes"] == np.bincount(labels).tolist()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 6), n_init=st.integers(1, 3))
def test_order_of_adapters_and_of_ranks_changes_nothing(seed, k, n_init):
    adapters = [random_adapter(seed + i, ranks={"q": 3}) for i in range(3)]
    expected = lego(adapters, LegoRecipe(rank=k, n_init=n_init)).weights["q"].delta()
    for order in itertools.permutations(range(3)):
        shuffled = [
            LoraWeights({"q": Factors(adapters[i]["q"].A[list(order)], adapters[i]["q"].B[:, list(order)])})
            for i in order
        ]
        assert relative(lego(shuffled, LegoRecipe(rank=k, n_init=n_init)).weights["q"].delta(), expected) < 1e-5


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.floats(0.01, 100))
def test_scaling_all_inputs_scales_the_result(seed, factor):
    plain = [random_adapter(seed + i, scale=1.0) for i in range(2)]
    scaled = [random_adapter(seed + i, scale=factor) for i in range(2)]
    one, many = (lego(adapters, LegoRecipe(rank=3)) for adapters in (plain, scaled))
    for module in one.weights:
        assert relative(many.weights[module].delta(), factor * one.weights[module].delta()) < 1e-5


def test_same_inputs_same_bytes_whatever_modules_stand_beside(tmp_path):
    adapters = [random_adapter(i, ranks={"q": 8, "v": 8}, width=(64, 64)) for i in range(4)]
    for name in ("one", "two"):
        save_peft(lego(adapters, LegoRecipe(rank=8, seed=3)).weights, tmp_path / name, base_model="org/base")
    files = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]
    alone = [LoraWeights({"q": adapter["q"]}) for adapter in adapters]
    both, single = (lego(a, LegoRecipe(rank=8, seed=3)).weights["q"] for a in (adapters, alone))
    assert torch.equal(both.A, single.A)
    assert torch.equal(both.B, single.B)


@pytest.mark.parametrize(
    ("dtype", "expected"), [("auto", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float32)]
)
def test_result_dtype(dtype, expected):
    adapters = [random_adapter(i, dtype=torch.bfloat16) for i in range(2)]
    assert lego(adapters, LegoRecipe(rank=4, dtype=dtype)).weights.dtype == expected


def test_refusals_name_what_is_wrong():
    one, two = random_adapter(0, name="me/one"), random_adapter(1, name="me/two")
    with pytest.raises(RecipeError) as caught:
        lego([one, two], LegoRecipe(rank=9))
    assert caught.value.field == "rank"
    with pytest.raises(CompositionError, match="me/wide"):
        lego([one, random_adapter(2, width=(30, 20), name="me/wide")], LegoRecipe(rank=4))
    broken = LoraWeights({"q": Factors(torch.tensor([[1.0, float("nan")]]), torch.ones(2, 1))}, name="me/nan")
    fine = LoraWeights({"q": Factors(torch.ones(1, 2), torch.ones(2, 1))}, name="me/fine")
    with pytest.raises(CompositionError, match=r"q of me/nan holds NaN"):
        lego([fine, broken], LegoRecipe(rank=1))


def test_progress_ends_at_one_and_cancels():
    seen = []
    adapters = [random_adapter(i, ranks={"q": 2, "v": 3}) for i in range(2)]
    lego(adapters, LegoRecipe(rank=2), progress=lambda fraction, message="", **_: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1

    def cancel(fraction, message="", **figures):
        raise Cancelled

    with pytest.raises(Cancelled):
        lego(adapters, LegoRecipe(rank=2), progress=cancel)
