"""Folders of tools for language models: mlx-lm, mistral-finetune, torchtune, llama.cpp."""

import json
from collections.abc import Mapping

import numpy as np
from safetensors.numpy import save

from tests.foreign.common import Deltas, Files
from tests.hub.factories import PICO_LINEARS


def factors(
    shapes: Mapping[str, tuple[int, int]], r: int = 4, seed: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{module: (A [r, in], B [out, r])} in float32."""
    random = np.random.default_rng(seed)
    return {
        name: (
            random.standard_normal((r, into)).astype(np.float32),
            random.standard_normal((out, r)).astype(np.float32),
        )
        for name, (out, into) in shapes.items()
    }


def pico(
    targets: tuple[str, ...] = ("q_proj", "v_proj"), layers: tuple[int, ...] = (0, 1)
) -> dict[str, tuple[int, int]]:
    """The pico base's linear layers with these last names: module → (out, in)."""
    return {
        f"model.layers.{layer}.{name}": (out, into)
        for layer in layers
        for name, (out, into) in PICO_LINEARS.items()
        if name.rpartition(".")[2] in targets
    }


def deltas(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], scale: float) -> Deltas:
    """ΔW = scale · B @ A."""
    return {name: scale * (b.astype(np.float64) @ a.astype(np.float64)) for name, (a, b) in pairs.items()}


def mlx_lm(
    shapes: Mapping[str, tuple[int, int]] | None = None,
    *,
    r: int = 4,
    scale: float = 20.0,
    base: str = "pico/llama",
    dtype: str = "float32",
    seed: int = 0,
    **config: object,
) -> tuple[Files, Deltas]:
    """mlx-lm: y += scale · (x @ lora_a) @ lora_b, lora_a [in, r], lora_b [r, out]."""
    pairs = factors(shapes or pico(), r, seed)
    pairs = {name: (a.astype(dtype), b.astype(dtype)) for name, (a, b) in pairs.items()}
    tensors = {}
    for name, (a, b) in pairs.items():
        tensors |= {f"{name}.lora_a": np.ascontiguousarray(a.T), f"{name}.lora_b": np.ascontiguousarray(b.T)}
    said = {
        "model": base,
        "fine_tune_type": "lora",
        "num_layers": 2,
        "lora_parameters": {"rank": r, "dropout": 0.0, "scale": scale},
    }
    files = {"adapters.safetensors": save(tensors), "adapter_config.json": json.dumps(said | config).encode()}
    return files, deltas(pairs, scale)


META = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
}
TUNE = {
    "self_attn.q_proj": "attn.q_proj",
    "self_attn.k_proj": "attn.k_proj",
    "self_attn.v_proj": "attn.v_proj",
    "self_attn.o_proj": "attn.output_proj",
    "mlp.gate_proj": "mlp.w1",
    "mlp.down_proj": "mlp.w2",
    "mlp.up_proj": "mlp.w3",
}


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """A weight of transformers as Meta's code has it: torchtune's `hf_to_tune`, `_permute`."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def native(
    shapes: Mapping[str, tuple[int, int]],
    *,
    heads: tuple[int, int],
    tool: str = "mistral",
    r: int = 4,
    scale: float = 2.0,
    turned: bool = True,
) -> tuple[Files, Deltas]:
    """mistral-finetune (lora.safetensors, params.json) or torchtune (its own names, adapter_config.json)."""
    pairs, tensors = factors(shapes, r), {}
    names, halves = (META, ("lora_A", "lora_B")) if tool == "mistral" else (TUNE, ("lora_a", "lora_b"))
    for module, (a, b) in pairs.items():
        _, _, layer, name = module.split(".", 3)
        if turned and name[-6:] in ("q_proj", "k_proj"):
            b = interleaved(b, heads[0] if name.endswith("q_proj") else heads[1])
        stem = f"layers.{layer}.{names[name]}"
        tensors |= {f"{stem}.{halves[0]}.weight": a, f"{stem}.{halves[1]}.weight": np.ascontiguousarray(b)}
    params = {"n_heads": heads[0], "n_kv_heads": heads[1], "lora": {"enable": True, "rank": r, "scaling": scale}}
    config = {"r": r, "lora_alpha": scale * r, "target_modules": ["q_proj"], "peft_type": "LORA"}
    if tool == "mistral":
        files = {"lora.safetensors": save(tensors), "params.json": json.dumps(params).encode()}
    else:
        files = {"adapter_model.safetensors": save(tensors), "adapter_config.json": json.dumps(config).encode()}
    return files, deltas(pairs, scale)
