"""Pico bases as GGUF files, written by the package `gguf` in llama.cpp's order, and read by transformers."""

from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from tests.composition.test_gguf_lora import LLAMA_NAMES

WIDTH, HEADS, KV = 64, 4, 2
TOKENS = ["<pad>", "<s>", "</s>", *(f"t{number}" for number in range(61))]
QUANTISED = gguf.GGMLQuantizationType.Q8_0
HALF, BRAIN = gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.BF16
NAMES = {**LLAMA_NAMES, "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def llama(*, bias: bool = False, tied: bool = False) -> LlamaForCausalLM:
    """2 layers, width 64, 4 heads of which 2 hold keys and values, 64 tokens."""
    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 96, "num_attention_heads": HEADS, "num_key_value_heads": KV}
    config = LlamaConfig(vocab_size=64, num_hidden_layers=2, tie_word_embeddings=tied, attention_bias=bias, **sizes)
    model = LlamaForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0, 0.1)
    return model


def write_gguf(
    model: LlamaForCausalLM, path: Path, kind: gguf.GGMLQuantizationType = QUANTISED, arch: str = "llama", **more: int
) -> Path:
    """The model, its matrices stored as `kind` and its vectors as F32; `more` are further numbers of the metadata."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(2)
    writer.add_context_length(128)
    config = model.config
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(64)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    for key, value in more.items():
        writer.add_uint32(key.replace("__", "."), value)
    for name, tensor in model.state_dict().items():
        values = tensor.numpy()
        if name.endswith(("q_proj.weight", "q_proj.bias")):
            values = permuted(values, config.num_attention_heads)
        elif name.endswith(("k_proj.weight", "k_proj.bias")):
            values = permuted(values, config.num_key_value_heads)
        if name != "lm_head.weight" or not config.tie_word_embeddings:
            data = gguf.quants.quantize(values, kind) if values.ndim > 1 else values
            writer.add_tensor(gguf_name(name), data, raw_dtype=kind if values.ndim > 1 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor of `llama()`."""
    outside = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    module, _, ending = name.rpartition(".")
    if module in outside:
        return f"{outside[module]}.{ending}"
    _, _, layer, rest = module.split(".", 3)
    return f"blk.{layer}.{NAMES[rest]}.{ending}"


def permuted(values: np.ndarray, heads: int) -> np.ndarray:
    """`LlamaModel.permute` of llama.cpp's converter."""
    return (
        values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    )


def loaded(path: Path) -> LlamaForCausalLM:
    """The file by transformers, in float32; a GGUF file doesn't tell it that attention has biases."""
    biased = any(tensor.name.endswith("attn_q.bias") for tensor in gguf.GGUFReader(path).tensors)
    more = {"config": llama(bias=True).config} if biased else {}
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32, **more).eval()
