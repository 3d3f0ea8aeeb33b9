"""`adapter.gguf` read by llama.cpp's rules is ΔW: the package `gguf` reads the file, transformers undoes the order."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

from composition.errors import CompositionError
from composition.formats.gguf.lora import gguf_files
from composition.formats.gguf.names import ARCHITECTURES, GgufNames
from composition.formats.peft.read import read
from composition.formats.sources import local_files
from tests.pico import KINDS, pico_gpt2, write_adapter, write_kind

LLAMA = {"model_type": "llama", "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
LLAMA |= {"hidden_size": 32}
LLAMA_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def written(adapter: Path, config: dict, out: Path, name: str = "") -> GGUFReader:
    (file,) = gguf_files(local_files(adapter), config, name).values()
    with file.open() as stream:
        out.write_bytes(stream.read())
    assert out.stat().st_size == file.size
    return GGUFReader(out)


def as_llama_cpp_reads(reader: GGUFReader) -> dict[str, np.ndarray]:
    """Tensor → ΔW: adapter.lora.alpha / ne0 of lora_b (llama-adapter.h), B @ A."""
    alpha = np.float32(reader.get_field("adapter.lora.alpha").contents())
    found = {tensor.name: values(tensor) for tensor in reader.tensors}
    names = {name.rpartition(".")[0] for name in found}
    assert set(found) == {f"{name}.{half}" for name in names for half in ("lora_a", "lora_b")}
    deltas = {}
    for name in names:
        a, b = found[f"{name}.lora_a"], found[f"{name}.lora_b"]
        assert a.shape[0] == b.shape[1]
        deltas[name] = (alpha / np.float32(b.shape[1])) * (b.astype(np.float64) @ a)
    return deltas


def values(tensor) -> np.ndarray:
    """The reader's array in row order, bfloat16 widened."""
    if tensor.tensor_type == gguf.GGMLQuantizationType.BF16:
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return np.asarray(tensor.data)


def expected(adapter: Path, names: dict[str, str] = LLAMA_NAMES) -> dict[str, np.ndarray]:
    """llama.cpp's name → ΔW in transformers' order, by the reader that agrees with peft."""
    weights, found = read(adapter), {}
    for module in weights:
        _, _, layer, rest = module.split(".", 3)
        found[f"blk.{layer}.{names[rest]}.weight"] = weights[module].delta().double().numpy()
    return found


def in_their_order(name: str, delta: np.ndarray) -> np.ndarray:
    """What transformers makes of a Llama's weight in a GGUF file."""
    config = {"num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaTensorProcessor(config=config).process(delta, name).weights


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_every_kind_is_read_to_the_same_delta(kind, dtype, tmp_path):
    adapter = write_kind(tmp_path / "adapter", kind, dtype=dtype)
    deltas = as_llama_cpp_reads(written(adapter, LLAMA, tmp_path / "x.gguf"))
    wanted = expected(adapter)
    assert deltas.keys() == wanted.keys()
    for name, delta in wanted.items():
        found = in_their_order(name, deltas[name])
        assert np.abs(found - delta).max() <= 1e-6 * np.abs(delta).max(), name


def test_one_scale_copies_the_bits_and_q_is_the_only_one_moved(tmp_path):
    adapter = write_kind(tmp_path / "adapter", "plain", dtype=torch.bfloat16)
    reader = written(adapter, LLAMA, tmp_path / "x.gguf", "org/base")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    stored = load_file(adapter / "adapter_model.safetensors")
    for module, name in (("mlp.up_proj", "ffn_up"), ("self_attn.v_proj", "attn_v"), ("self_attn.q_proj", "attn_q")):
        start = f"base_model.model.model.layers.0.{module}"
        bits = {half: stored[f"{start}.lora_{half}.weight"].view(torch.int16).numpy() for half in "AB"}
        found = {half: tensors[f"blk.0.{name}.weight.lora_{half.lower()}"].data.view(np.int16) for half in "AB"}
        assert (bits["A"] == found["A"]).all()
        assert (bits["B"] == found["B"]).all() == (name != "attn_q")
    said = {key: reader.get_field(key).contents() for key in ("general.architecture", "general.type", "adapter.type")}
    assert said == {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    assert reader.get_field("adapter.lora.alpha").contents() == 8.0
    assert reader.get_field("general.base_model.0.name").contents() == "org/base"


def test_any_piece_of_the_file_is_that_piece(tmp_path):
    adapter = write_kind(tmp_path / "adapter", "both_patterns")
    (file,) = gguf_files(local_files(adapter), LLAMA).values()
    with file.open() as stream:
        whole = stream.read()
        for begin in range(0, len(whole), 509):
            stream.seek(begin)
            assert stream.read(61) == whole[begin : begin + 61]


def test_conv1d_is_not_turned(tmp_path):
    """llama.cpp keeps GPT-2's weights as [out, in]; its own converter of LoRAs turns ΔW a second time."""
    write_adapter(tmp_path / "adapter", model=pico_gpt2(), r=4, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    config = {"model_type": "gpt2", "n_layer": 2, "n_head": 4}
    deltas = as_llama_cpp_reads(written(tmp_path / "adapter", config, tmp_path / "x.gguf"))
    weights = read(tmp_path / "adapter")
    for module, name in (("attn.c_attn", "attn_qkv"), ("mlp.c_fc", "ffn_up")):
        for layer in (0, 1):
            delta = weights[f"transformer.h.{layer}.{module}"].delta().numpy()
            assert np.allclose(deltas[f"blk.{layer}.{name}.weight"], delta, rtol=1e-5, atol=1e-7)


def test_the_rows_of_fused_attention_go_by_part_then_head():
    """(head, q|k|v, row) → (q|k|v, head, row), counted out."""
    names = GgufNames({"model_type": "gpt_neox", "num_hidden_layers": 1, "num_attention_heads": 3})
    order, width = names.row_order("blk.0.attn_qkv.weight", 18), 2
    wanted = [head * 3 * width + part * width + row for part in range(3) for head in range(3) for row in range(width)]
    assert order.tolist() == wanted
    assert names.tensor("gpt_neox.layers.0.attention.query_key_value") == "blk.0.attn_qkv.weight"


def test_the_rows_of_rotary_attention_are_what_the_halves_of_a_head_become():
    names = GgufNames(LLAMA)
    assert names.row_order("blk.0.attn_q.weight", 24).tolist() == [0, 3, 1, 4, 2, 5]
    assert names.row_order("blk.0.attn_k.weight", 24).tolist() == [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]
    assert names.row_order("blk.0.attn_v.weight", 24) is None
    unsaid = {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"} | {"head_dim": 4}
    assert GgufNames(unsaid).row_order("blk.0.attn_k.weight", 8).tolist() == [0, 2, 1, 3]
    assert GgufNames(LLAMA | {"model_type": "qwen2"}).row_order("blk.0.attn_q.weight", 24) is None


@pytest.mark.parametrize(
    ("config", "module", "name"),
    [
        ({"model_type": "gemma3", "text_config": LLAMA}, "model.language_model.layers.1.mlp.up_proj", "blk.1.ffn_up"),
        ({"model_type": "llava", "text_config": LLAMA}, "language_model.model.layers.0.mlp.up_proj", "blk.0.ffn_up"),
        ({**LLAMA, "model_type": "phi3"}, "model.layers.0.self_attn.qkv_proj", "blk.0.attn_qkv"),
        ({**LLAMA, "model_type": "qwen3"}, "layers.0.self_attn.q_proj", "blk.0.attn_q"),
        (LLAMA, "lm_head", "output"),
    ],
)
def test_names(config, module, name):
    assert GgufNames(config).tensor(module) == f"{name}.weight"


def test_every_listed_architecture_is_one_of_llama_cpp():
    assert {row.name for row in ARCHITECTURES.values()} <= set(gguf.MODEL_ARCH_NAMES.values())


@pytest.mark.parametrize(
    ("config", "module", "code"),
    [
        ({**LLAMA, "model_type": "mamba2"}, "lm_head", "form.gguf_architecture"),
        ({"model_type": "llama"}, "lm_head", "form.gguf_architecture"),
        ({**LLAMA, "tie_word_embeddings": True}, "lm_head", "form.gguf_module"),
        ({**LLAMA, "model_type": "gemma2"}, "lm_head", "form.gguf_module"),
        (LLAMA, "model.layers.0.mlp.experts.3.up_proj", "form.gguf_module"),
        ({"model_type": "llava", "text_config": LLAMA}, "model.vision_tower.layers.0.mlp.fc1", "form.gguf_module"),
    ],
)
def test_what_llama_cpp_can_not_adapt_is_refused(config, module, code):
    with pytest.raises(CompositionError) as refused:
        GgufNames(config).tensor(module)
    assert refused.value.code == code


def test_more_than_a_plain_lora_is_refused(tmp_path):
    adapter = write_kind(tmp_path / "adapter", "plain", use_dora=True)
    with pytest.raises(CompositionError) as refused:
        gguf_files(local_files(adapter), LLAMA)
    assert refused.value.code == "form.not_plain"
