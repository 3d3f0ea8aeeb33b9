"""Writes factors as a PEFT folder: config and safetensors, of scale 1, ranks by pattern where they differ."""

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .adapter import CONFIG, WEIGHTS
from .arithmetic import DTYPES
from .stored import header_bytes

NAMES = {dtype: name for name, dtype in DTYPES.items()}


def write_lora(
    out: Path, factors: Mapping[str, tuple[Tensor, Tensor]], *, base_name: str, task: str | None, conv1d: bool
) -> int:
    """Write {module: (A [r, in], B [out, r])} to the folder `out`; returns the bytes of the weights.

    The folder has its name when it is whole. `conv1d` says that the base stores its weights as [in, out].
    """
    part = out.with_name(out.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for module, (A, B) in sorted(factors.items()):
        tensors[f"base_model.model.{module}.lora_A.weight"] = A
        tensors[f"base_model.model.{module}.lora_B.weight"] = B
    sizes = ((name, NAMES[t.dtype], tuple(t.shape), t.numel() * t.element_size()) for name, t in tensors.items())
    with (part / WEIGHTS).open("wb") as file:
        file.write(header_bytes(sizes, {"format": "pt"}))
        for tensor in tensors.values():
            file.write(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    ranks = {module: A.shape[0] for module, (A, _) in sorted(factors.items())}
    (part / CONFIG).write_text(json.dumps(_config(ranks, base_name, task, conv1d), indent=2, sort_keys=True) + "\n")
    size = (part / WEIGHTS).stat().st_size
    if out.is_dir():
        out.rmdir()
    os.replace(part, out)
    return size


def _config(ranks: Mapping[str, int], base_name: str, task: str | None, conv1d: bool) -> dict[str, Any]:
    common = max(Counter(ranks.values()).items(), key=lambda item: (item[1], item[0]))[0]
    unlike = {f"^{re.escape(module)}$": rank for module, rank in ranks.items() if rank != common}
    return {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": base_name,
        "r": common,
        "lora_alpha": common,
        "rank_pattern": unlike,
        "alpha_pattern": unlike,
        "target_modules": list(ranks),
        "bias": "none",
        "fan_in_fan_out": conv1d,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "use_dora": False,
        "use_rslora": False,
    }
