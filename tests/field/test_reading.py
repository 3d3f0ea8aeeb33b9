"""Adapters with names of older releases are read under the base's present names, with peft's own ΔW."""

import pytest
import torch

from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.lego import LegoRecipe, lego
from composition.weights import save_peft
from tests.field.pico_bases import HERE, kept_shapes, live, model, shapes

pytestmark = pytest.mark.filterwarnings("ignore")

MERGEABLE = [
    ("c03b_default", "llama"),
    ("c05_auto_model_no_model_prefix", "llama-encoder"),
    ("c06_gemma3_transformers450", "gemma3"),
    ("c07f_swift_rank_pattern", "gemma3"),
    ("c08_targets_of_other_architectures", "llama"),
    ("n01_whisper", "whisper"),
    ("v_gemma3_old", "gemma3"),
    ("v_llava_old", "llava"),
]


def pefts_changes(attached):
    found = {}
    for name, module in attached.base_model.model.named_modules():
        if hasattr(module, "get_delta_weight") and torch.count_nonzero(module.lora_B["default"].weight):
            found[name] = module.get_delta_weight("default").detach()
    return found


@pytest.mark.parametrize("known", [shapes, kept_shapes])
@pytest.mark.parametrize(("case", "base"), MERGEABLE)
def test_the_change_is_pefts_under_the_names_of_the_base(case, base, known):
    folder = HERE / "cases" / case
    attached, dead = live(model(base), folder)
    expected, read = pefts_changes(attached), read_adapter(folder, base=known(base))
    assert not dead
    assert set(read) == set(expected)
    for name in read:
        assert torch.allclose(read[name].delta(), expected[name], atol=1e-6)


@pytest.mark.parametrize("base", ["gemma3", "llava"])
def test_an_old_and_a_new_adapter_of_one_base_are_merged(base, tmp_path):
    both = [read_adapter(HERE / "cases" / f"v_{base}_{age}", base=shapes(base)) for age in ("old", "new")]
    assert set(both[0]) == set(both[1]) <= set(shapes(base))
    merged = lego(both, LegoRecipe(rank=4)).weights
    save_peft(merged, tmp_path, base_model=f"pico/{base}")
    attached, dead = live(model(base), tmp_path)
    assert not dead
    changes = pefts_changes(attached)
    for name in merged:
        assert torch.allclose(changes[name], merged[name].delta(), atol=1e-5)


def test_a_feature_extractors_modules_have_the_names_of_the_whole_base():
    read = read_adapter(HERE / "cases" / "c18_bert_feature_extraction", base=shapes("bert"))
    assert set(read) <= set(shapes("bert"))


@pytest.mark.parametrize("known", [shapes, kept_shapes])
def test_experts_are_not_merged_and_the_reason_is_said(known):
    with pytest.raises(CompositionError, match="fused experts") as refusal:
        read_adapter(HERE / "cases" / "c09_mixtral_v4_experts", base=known("mixtral"))
    assert refusal.value.code == "adapter.needs_base"
