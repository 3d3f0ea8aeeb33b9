"""Whether a folder holds an adapter: PEFT's own merges pass in every dtype, each way of going wrong has its name."""

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from composition.merged_model.check import check_merged
from tests.composition.test_merged_model import by_peft, save_base, tied_llama
from tests.pico import pico_llama, write_adapter, write_kind

Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def base(tmp_path):
    return save_base(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path):
    return write_kind(tmp_path / "adapter", "plain")


def save(base, out, change):
    """The base's folder with `change` made to its tensors."""
    tensors = load_file(base / "model.safetensors")
    change(tensors)
    out.mkdir()
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_bytes((base / "config.json").read_bytes())
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("of_adapter", [torch.float32, torch.float16], ids=str)
def test_pefts_own_merge_is_the_same_bits(dtype, of_adapter, tmp_path):
    """deltalint 0.1.0 calls that of a float16 adapter unverifiable."""
    base = save_base(tmp_path / "base", dtype=dtype)
    adapter = write_kind(tmp_path / "adapter", "both_patterns", dtype=of_adapter)
    by_peft(base, adapter, tmp_path / "theirs")
    found = check_merged(base, adapter, tmp_path / "theirs")
    assert (found["answer"], found["same"], found["tensors"]) == ("merged", 14, [])


def test_a_merge_in_16_bits_is_rounded(tmp_path):
    """As on a GPU: ΔW is rounded to the adapter's own dtype."""
    base = save_base(tmp_path / "base", dtype=torch.bfloat16)
    adapter = write_kind(tmp_path / "adapter", "plain", dtype=torch.bfloat16)
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    merged = PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False).merge_and_unload()
    merged.save_pretrained(tmp_path / "theirs")
    found = check_merged(base, adapter, tmp_path / "theirs")
    assert (found["answer"], found["rounded"] + found["same"]) == ("merged", 14) and found["rounded"]


def test_eight_times_the_adapter_is_found_with_its_factor(base, adapter, tmp_path):
    once = by_peft(base, adapter, tmp_path / "once")

    def eight(tensors):
        for name in tensors:
            tensors[name] += 8 * (once[name] - tensors[name])

    found = check_merged(base, adapter, save(base, tmp_path / "out", eight))
    assert (found["answer"], found["other"]) == ("wrong", 14)
    assert all(row["factor"] == pytest.approx(8, abs=1e-3) for row in found["tensors"])


def test_the_base_itself_is_not_merged(base, adapter):
    found = check_merged(base, adapter, base)
    assert (found["answer"], found["base"]) == ("not merged", 14)


def test_one_tensor_left_out_and_one_too_many(base, adapter, tmp_path):
    once, before = by_peft(base, adapter, tmp_path / "once"), load_file(base / "model.safetensors")

    def nearly(tensors):
        tensors.update({name: t.clone() for name, t in once.items()})
        tensors[Q] = before[Q]
        tensors["model.norm.weight"] += 1

    found = check_merged(base, adapter, save(base, tmp_path / "out", nearly))
    assert (found["answer"], found["same"], found["base"], found["untouched"]) == ("wrong", 13, 1, 1)
    assert {row["tensor"]: row["is"] for row in found["tensors"]} == {Q: "base", "model.norm.weight": "untouched"}


def test_tied_embeddings_that_both_took_the_update_are_wrong(tmp_path):
    """PEFT adds an embedding's ΔW to the weight that the head shares: not what the attached adapter computes."""
    base = save_base(tmp_path / "base", tied_llama())
    adapter = write_adapter(tmp_path / "adapter", model=tied_llama(), r=4, target_modules=["embed_tokens", "q_proj"])
    by_peft(base, adapter, tmp_path / "theirs")
    found = check_merged(base, adapter, tmp_path / "theirs")
    assert found["answer"] == "wrong"
    assert [row["tensor"] for row in found["tensors"]] == ["lm_head.weight"]


def test_another_models_folder(base, adapter, tmp_path):
    model = pico_llama()
    model.config.hidden_size = 16
    other = save_base(tmp_path / "other", type(model)(model.config))
    assert check_merged(base, adapter, other)["answer"] == "wrong"
