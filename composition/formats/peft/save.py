"""Writes LoraWeights as a PEFT folder: two files, the same bytes every time, one module in memory.

The safetensors file (8-byte header length, JSON header, tensors in order) is written here rather than by the library,
which wants all tensors at once. The config is `plain_config`'s; its alpha is positive, so the sign of a negative scale,
or a scale of zero, goes into B.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.formats.peft.plain_config import CONFIG_FILE, WEIGHTS_FILE, factor_names, plain_config
from composition.formats.safetensors_header import write_header
from composition.weights import DTYPES, Factors, LoraWeights


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
    config = plain_config(
        {module: weights.module_facts(module) for module in weights},
        base_model=base_model,
        task_type=weights.task_type,
        suffixes=weights.target_modules or (),
        fan_in_fan_out=weights.fan_in_fan_out,
    )
    replace_file(folder / WEIGHTS_FILE, _safetensors(weights, dtype, metadata))
    replace_file(folder / CONFIG_FILE, iter([config]))


def _safetensors(weights: LoraWeights, dtype: torch.dtype | None, metadata: Mapping[str, str]) -> Iterator[bytes]:
    tensors: dict[str, tuple[torch.dtype, Sequence[int]]] = {}
    for module in weights:
        fact, kind = weights.module_facts(module), dtype or weights.module_dtype(module)
        a, b = factor_names(module)
        tensors[a] = kind, (fact.r, fact.in_features)
        tensors[b] = kind, (fact.out_features, fact.r)
    yield safetensors_header(tensors, metadata)
    for module in weights:
        factors, kind = weights[module], dtype or weights.module_dtype(module)
        if factors.scale <= 0:
            factors = Factors(factors.A, factors.B * math.copysign(bool(factors.scale), factors.scale))
        yield tensor_bytes(factors.A, kind, module)
        yield tensor_bytes(factors.B, kind, module)


def safetensors_header(tensors: Mapping[str, tuple[torch.dtype, Sequence[int]]], metadata: Mapping[str, str]) -> bytes:
    """The file up to its first tensor: length and JSON of the named (dtype, shape), which follow in this order."""
    named = {name: (DTYPES[dtype], shape) for name, (dtype, shape) in tensors.items()}
    return write_header(named, {"format": "pt", **metadata})


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
