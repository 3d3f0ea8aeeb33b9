"""Writes LoraWeights as a PEFT folder: two files, the same bytes every time, one module in memory.

The safetensors file (8-byte header length, JSON header, tensors in order) is written here rather than by the library,
which wants all tensors at once. Ranks and scales that differ by module become `rank_pattern` and `alpha_pattern`,
whose keys peft 0.21 reads as regular expressions (`get_pattern_key`: `(.*\\.)?(key)$`); alpha is positive, so the
sign of a negative scale, or a scale of zero, goes into B.
"""

import json
import math
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.weights import DTYPES, Factors, LoraWeights

PREFIX = "base_model.model."
WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


def write_peft_folder(
    weights: LoraWeights,
    folder: Path,
    base_model: str | None,
    dtype: torch.dtype | None,
    metadata: Mapping[str, str],
) -> None:
    """See `composition.weights.save_peft`."""
    if not len(weights):
        raise CompositionError("weights.empty", "There is no module to save; expected at least one.")
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(peft_config(weights, base_model), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    replace_file(folder / WEIGHTS_FILE, _safetensors(weights, dtype, metadata))
    replace_file(folder / CONFIG_FILE, iter([config.encode()]))


def peft_config(weights: LoraWeights, base_model: str | None) -> dict[str, Any]:
    """The adapter_config.json: alpha and r per module by patterns where they differ, rsLoRA folded into alpha."""
    facts = {module: weights.module_facts(module) for module in weights}
    ranks = {module: fact.r for module, fact in facts.items()}
    alphas = {module: alpha_of(fact.scale, fact.r) for module, fact in facts.items()}
    r, alpha = _commonest(ranks.values()), _commonest(alphas.values())
    keys = _pattern_keys(list(facts))
    return {
        "alpha_pattern": {keys[m]: value for m, value in alphas.items() if value != alpha},
        "auto_mapping": None,
        "base_model_name_or_path": base_model,
        "bias": "none",
        "fan_in_fan_out": weights.fan_in_fan_out,
        "inference_mode": True,
        "init_lora_weights": True,
        "layers_pattern": None,
        "layers_to_transform": None,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": r,
        "rank_pattern": {keys[m]: value for m, value in ranks.items() if value != r},
        "revision": None,
        "target_modules": _targets(weights),
        "task_type": weights.task_type,
        "use_dora": False,
        "use_rslora": False,
    }


def alpha_of(scale: float, rank: int) -> int | float:
    """The alpha with alpha / rank == |scale| exactly where a float allows, whole where it can be; 1 for scale 0."""
    scale = abs(scale) or 1.0
    alpha = scale * rank
    near = (round(alpha), alpha, math.nextafter(alpha, math.inf), math.nextafter(alpha, -math.inf))
    best = min(near, key=lambda value: abs(value / rank - scale))
    return int(best) if best == int(best) else best


def _commonest(values: Any) -> Any:
    """The most frequent value, the largest of equally frequent ones."""
    return max(Counter(values).items(), key=lambda item: (item[1], item[0]))[0]


def _pattern_keys(modules: list[str]) -> dict[str, str]:
    """Each module's key: its name, or an anchored escaped regex where the name would match another module too."""
    keys = {}
    for module in modules:
        loose = re.compile(rf"(.*\.)?({module})$") if re.fullmatch(r"[\w.\-]+", module) else None
        alone = loose is not None and sum(1 for other in modules if loose.match(other)) == 1
        keys[module] = module if alone else f"^{re.escape(module)}"
    return keys


def _targets(weights: LoraWeights) -> list[str]:
    """The config's own suffixes where every module ends with one, else the modules' full names."""
    suffixes = tuple(weights.target_modules or ())
    if suffixes and all(m in suffixes or m.endswith(tuple(f".{suffix}" for suffix in suffixes)) for m in weights):
        return sorted(suffixes)
    return list(weights)


def _safetensors(weights: LoraWeights, dtype: torch.dtype | None, metadata: Mapping[str, str]) -> Iterator[bytes]:
    tensors: dict[str, tuple[torch.dtype, Sequence[int]]] = {}
    for module in weights:
        fact, kind = weights.module_facts(module), dtype or weights.module_dtype(module)
        tensors[f"{PREFIX}{module}.lora_A.weight"] = kind, (fact.r, fact.in_features)
        tensors[f"{PREFIX}{module}.lora_B.weight"] = kind, (fact.out_features, fact.r)
    yield safetensors_header(tensors, metadata)
    for module in weights:
        factors, kind = weights[module], dtype or weights.module_dtype(module)
        if factors.scale <= 0:
            factors = Factors(factors.A, factors.B * math.copysign(bool(factors.scale), factors.scale))
        yield tensor_bytes(factors.A, kind, module)
        yield tensor_bytes(factors.B, kind, module)


def safetensors_header(tensors: Mapping[str, tuple[torch.dtype, Sequence[int]]], metadata: Mapping[str, str]) -> bytes:
    """The file up to its first tensor: length and JSON of the named (dtype, shape), which follow in this order."""
    header: dict[str, Any] = {"__metadata__": dict(sorted({"format": "pt", **metadata}.items()))}
    end = 0
    for name, (dtype, shape) in tensors.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def cast(tensor: Tensor, dtype: torch.dtype, module: str) -> Tensor:
    """The tensor in `dtype`, contiguous, on the CPU; CompositionError where a value is too large for it."""
    same = tensor.detach().to("cpu", dtype).contiguous()
    if dtype != tensor.dtype and not torch.isfinite(same).all():
        raise CompositionError(
            "weights.overflow",
            f"{module} holds values up to {float(tensor.abs().max()):.3g}, which {DTYPES[dtype]} can't. Use float32.",
            module=module,
        )
    return same


def tensor_bytes(tensor: Tensor, dtype: torch.dtype, module: str) -> bytes:
    """The tensor's values as a safetensors file holds them, in `dtype`."""
    return cast(tensor, dtype, module).view(torch.uint8).numpy().data.tobytes()


def replace_file(path: Path, chunks: Iterator[bytes]) -> None:
    """Write beside the file and rename: a file that is mapped while it is replaced stays whole for its reader."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as out:
            for chunk in chunks:
                out.write(chunk)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
