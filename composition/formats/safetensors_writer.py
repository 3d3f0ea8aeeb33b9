"""Safetensors files written one tensor at a time: the same bytes every time, one tensor in memory.

The file (8-byte header length, JSON header, tensors in order) is written here rather than by the library, which wants
all tensors at once.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.factors import DTYPES
from composition.formats.safetensors_header import write_header

TORCH_DTYPES = {code: dtype for dtype, code in DTYPES.items()}
"""The header's code of a dtype → torch's."""


def safetensors_header(tensors: Mapping[str, tuple[torch.dtype, Sequence[int]]], metadata: Mapping[str, str]) -> bytes:
    """The file up to its first tensor: length and JSON of the named (dtype, shape), which follow in this order."""
    named = {name: (DTYPES[dtype], shape) for name, (dtype, shape) in tensors.items()}
    return write_header(named, {"format": "pt", **metadata})


def cast(tensor: Tensor, dtype: torch.dtype, module: str) -> Tensor:
    """The tensor in `dtype`, contiguous, on the CPU; CompositionError where a value is too large for it."""
    same = tensor.detach().to("cpu", dtype).contiguous()
    if dtype != tensor.dtype and not torch.isfinite(same).all():
        do = "Make them smaller" if dtype == torch.float32 else "Use float32"
        raise CompositionError(
            "weights.overflow",
            f"{module} holds values up to {float(tensor.abs().max()):.3g}, which {DTYPES[dtype]} can't hold. {do}.",
            module=module,
        )
    return same


def tensor_bytes(tensor: Tensor, dtype: torch.dtype, module: str) -> bytes:
    """The tensor's values as a safetensors file holds them, in `dtype`."""
    return cast(tensor, dtype, module).flatten().view(torch.uint8).numpy().data.tobytes()


def replace_file(path: Path, chunks: Iterator[bytes]) -> None:
    """Write to a file next to it and rename that: a reader that has the old file mapped keeps it whole."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as out:
            for chunk in chunks:
                out.write(chunk)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
