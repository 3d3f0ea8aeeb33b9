"""Folders that a client pushes: adapters of the bases that `tests.clients.world` registers, without torch."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WIDE = 4096
CARD = "---\nbase_model: pico/llama\nlicense: mit\nlibrary_name: peft\ntags: [dates]\n---\n# Dates\n"


def adapter(folder, *, seed=0, base="pico/llama", card=CARD, layers=2, out=(32, 16), width=32, rank=4):
    """A LoRA on q_proj and v_proj, `out` rows each; the folder."""
    folder, rng, tensors = Path(folder), np.random.default_rng(seed), {}
    folder.mkdir(parents=True, exist_ok=True)
    for layer in range(layers):
        for name, rows in {"q_proj": out[0], "v_proj": out[1]}.items():
            stem = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{stem}.lora_A.weight"] = rng.standard_normal((rank, width), dtype=np.float32)
            tensors[f"{stem}.lora_B.weight"] = rng.standard_normal((rows, rank), dtype=np.float32)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "r": rank, "bias": "none"}
    config |= {"lora_alpha": 2 * rank, "target_modules": ["q_proj", "v_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    if card:
        (folder / "README.md").write_text(card)
    return folder


def wide_adapter(folder, *, seed=0):
    """One of 72 MB: 9 layers of two projections, 4096 wide, of rank 128, in float32."""
    return adapter(folder, seed=seed, base="pico/wide", card=None, layers=9, out=(WIDE, WIDE), width=WIDE, rank=64)
