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
