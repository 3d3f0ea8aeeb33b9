"""What the makers of foreign folders share: ΔW by formula, and of what was made of them."""

import json

import numpy as np
from safetensors.numpy import load

Deltas = dict[str, np.ndarray]
Files = dict[str, bytes]


def peft_deltas(files: Files) -> Deltas:
    """ΔW of a PEFT LoRA by peft's formula: alpha / r · B @ A, both from the pattern that is the module's name."""
    config, tensors = json.loads(files["adapter_config.json"]), load(files["adapter_model.safetensors"])
    found = {}
    for stem in sorted({name.partition(".lora_")[0] for name in tensors}):
        module = stem.removeprefix("base_model.model.")
        rank, alpha = (
            config["rank_pattern"].get(module, config["r"]),
            config["alpha_pattern"].get(module, config["lora_alpha"]),
        )
        a, b = (tensors[f"{stem}.lora_{half}.weight"].astype(np.float64) for half in "AB")
        assert len(a) == rank
        found[module] = alpha / rank * conv_product(a, b)
    return found


def conv_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """B @ A for matrices; for kernels A [r, in, k, k], B [out, r, 1, 1] the change of the kernel [out, in, k, k]."""
    return np.tensordot(b.reshape(b.shape[:2]), a, axes=(1, 0))
