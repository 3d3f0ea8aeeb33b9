"""LoraWeights, the PEFT reader and save_peft: what peft computes with a folder, we compute, and the way back."""

import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from composition.errors import CompositionError
from composition.formats import read_adapter
from composition.weights import Factors, LoraWeights, save_peft
from tests import pico
from tests.composition.random_adapters import random_adapter, relative


@pytest.mark.parametrize("kind", pico.KINDS)
def test_reader_gives_what_peft_computes(tmp_path, kind):
    folder = pico.write_kind(tmp_path / "a", kind)
    weights = read_adapter(folder)
    ours = pico.delta_logits({name: factors.delta() for name, factors in weights.items()})
    base = pico.delta_logits({})
    assert relative(ours, pico.peft_logits(folder)) < 1e-5
    assert relative(base, pico.peft_logits(folder)) > 1e-3


@pytest.mark.parametrize("kind", pico.KINDS)
def test_round_trip_keeps_every_bit_and_the_logits(tmp_path, kind):
    folder = pico.write_kind(tmp_path / "a", kind)
    weights = read_adapter(folder)
    save_peft(weights, tmp_path / "b", base_model=pico.BASE)
    again = read_adapter(tmp_path / "b")
    assert list(again) == list(weights)
    for module in weights:
        assert torch.equal(again[module].A, weights[module].A)
        assert torch.equal(again[module].B, weights[module].B)
        assert again[module].scale == pytest.approx(weights[module].scale, rel=1e-15)
    assert relative(pico.peft_logits(tmp_path / "b"), pico.peft_logits(folder)) < 1e-6


@pytest.mark.parametrize("fan_in_fan_out", [True, False])
def test_conv1d_adapters_are_read_and_written_right(tmp_path, fan_in_fan_out):
    folder = pico.write_adapter(
        tmp_path / "a",
        model=pico.pico_gpt2(),
        target_modules=["c_attn", "c_fc"],
        r=4,
        lora_alpha=8,
        fan_in_fan_out=fan_in_fan_out,
    )
    weights = read_adapter(folder)
    expected = pico.peft_logits(folder, pico.pico_gpt2())
    ours = pico.delta_logits({name: factors.delta() for name, factors in weights.items()}, pico.pico_gpt2())
    assert relative(ours, expected) < 1e-6
    assert weights["transformer.h.0.attn.c_attn"].out_features == 96
    save_peft(weights, tmp_path / "b", base_model="pico/gpt2")
    assert relative(pico.peft_logits(tmp_path / "b", pico.pico_gpt2()), expected) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_stored_dtype_is_kept_until_asked_otherwise(tmp_path, dtype):
    weights = random_adapter(0, dtype=dtype)
    save_peft(weights, tmp_path / "half", base_model="org/base")
    assert read_adapter(tmp_path / "half").dtype == dtype
    save_peft(weights, tmp_path / "full", base_model="org/base", dtype=torch.float32)
    full = read_adapter(tmp_path / "full")
    assert full.dtype == torch.float32
    assert all(torch.equal(full[m].A, weights[m].A.float()) for m in weights)


def test_saved_file_is_safetensors_with_one_metadata_key_and_equal_bytes(tmp_path):
    weights = random_adapter(0, ranks={"b.v_proj": 2, "a.q_proj": 4, "a.k_proj": 4})
    for name in ("one", "two"):
        save_peft(weights, tmp_path / name, base_model="org/base")
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    with safe_open(tmp_path / "one" / "adapter_model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    names = list(load_file(tmp_path / "one" / "adapter_model.safetensors"))
    assert "base_model.model.a.q_proj.lora_A.weight" in names
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    config = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/base"
    assert config["r"] == 4
    assert config["rank_pattern"] == {"b.v_proj": 2}
    assert config["target_modules"] == ["a.k_proj", "a.q_proj", "b.v_proj"]


def test_patterns_tell_apart_a_module_whose_name_ends_like_another(tmp_path):
    modules = {"q_proj": 2, "deep.q_proj": 3, "deepxq_proj": 4}
    save_peft(random_adapter(0, ranks=modules), tmp_path / "a", base_model="org/base")
    assert {name: factors.rank for name, factors in read_adapter(tmp_path / "a").items()} == modules


def test_scales_survive_alpha(tmp_path):
    scales = [1 / 3, 8 / 7**0.5, 1e-7, 123.456, 16.0]
    modules = {f"m{i}": Factors(torch.ones(7, 3), torch.ones(2, 7), scale) for i, scale in enumerate(scales)}
    save_peft(LoraWeights(modules), tmp_path / "a", base_model="org/base")
    again = read_adapter(tmp_path / "a")
    assert [again[f"m{i}"].scale for i in range(len(scales))] == pytest.approx(scales, rel=1e-15)


def test_negative_and_zero_scales_are_saved_as_the_same_update(tmp_path):
    modules = {f"m{i}": Factors(torch.randn(7, 3), torch.randn(2, 7), scale) for i, scale in enumerate((-0.5, 0.0))}
    save_peft(LoraWeights(modules), tmp_path / "a", base_model="org/base")
    for name, factors in read_adapter(tmp_path / "a").items():
        assert torch.equal(factors.delta(), modules[name].delta())


def test_balanced_and_delta_are_one_update():
    for scale in (2.5, -0.3):
        factors = Factors(torch.randn(3, 5), torch.randn(4, 3), scale)
        A, B = factors.balanced()
        assert torch.allclose(B @ A, factors.delta(), atol=1e-6)
        assert torch.allclose(factors.delta(), scale * factors.B @ factors.A, atol=1e-6)


def test_reading_is_lazy_and_the_mapping_immutable(tmp_path):
    folder = pico.write_kind(tmp_path / "a", "plain")
    weights = read_adapter(folder)
    assert weights.facts().ranks == (4, 4)
    with pytest.raises(TypeError):
        weights["x"] = None  # type: ignore[index]
    with pytest.raises(KeyError):
        weights["x"]
    before = weights["model.layers.0.mlp.up_proj"].A.clone()
    save_peft(random_adapter(3), folder, base_model="org/base")
    assert torch.equal(weights["model.layers.0.mlp.up_proj"].A, before)


def test_factors_refuse_what_is_no_pair():
    with pytest.raises(CompositionError, match="expected"):
        Factors(torch.ones(2, 3), torch.ones(4, 3))
    with pytest.raises(CompositionError, match="finite"):
        Factors(torch.ones(2, 3), torch.ones(4, 2), float("nan"))


def test_saving_refuses_values_too_large_for_the_dtype(tmp_path):
    weights = LoraWeights({"q": Factors(torch.full((1, 2), 1e6), torch.ones(2, 1))})
    with pytest.raises(CompositionError, match=r"q holds values up to 1e\+06, which F16"):
        save_peft(weights, tmp_path / "a", base_model="org/base", dtype=torch.float16)
    assert not list((tmp_path / "a").iterdir())


@pytest.mark.parametrize(
    ("change", "needle"),
    [({"use_dora": True}, "DoRA"), ({"bias": "all"}, "bias"), ({"modules_to_save": ["lm_head"]}, "modules_to_save")]
    + [({"init_lora_weights": kind}, kind) for kind in ("pissa", "olora")],
)
def test_adapters_that_need_their_base_are_refused_with_reason_and_way_out(tmp_path, change, needle):
    folder = pico.write_kind(tmp_path / "a", "plain")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CompositionError) as caught:
        read_adapter(folder)
    assert caught.value.code == "adapter.needs_base"
    assert needle.lower() in caught.value.message.lower()


@pytest.mark.parametrize("case", ["no folder", "no format", "no weights", "cut", "unpaired", "rank", "unknown tensor"])
def test_broken_folders_are_refused_with_a_code(tmp_path, case):
    folder = pico.write_kind(tmp_path / "a", "plain")
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    key = "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    if case == "no folder":
        shutil.rmtree(folder)
    elif case == "no format":
        (folder / "adapter_config.json").unlink()
    elif case == "no weights":
        file.unlink()
    elif case == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    elif case == "unpaired":
        save_file({name: tensor for name, tensor in tensors.items() if name != key}, file)
    elif case == "rank":
        save_file({**tensors, key: tensors[key][:2].contiguous()}, file)
    elif case == "unknown tensor":
        save_file({**tensors, "base_model.model.lm_head.weight": torch.ones(2)}, file)
    with pytest.raises(CompositionError) as caught:
        read_adapter(folder)
    assert caught.value.code.startswith("adapter.")
    assert len(caught.value.message) > 30
