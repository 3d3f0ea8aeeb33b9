"""The rows of one changed tensor of a GGUF file, a block at a time: dequantised, changed in float32, rounded once.

    rows [n, in] of W, ggml's blocks → float32 → + scale · left[n, r] @ right[r, in] → float32, float16 or bfloat16

`left` is B, its rows in llama.cpp's order; of an embedding, whose ΔW stands transposed, it is Aᵀ.
"""

from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import torch
from torch import Tensor

from .arithmetic import ROWS_BYTES, factor
from .gguf_file import GgufTensor
from .gguf_plan import Change
from .refusal import ExportRefused
from .stored import Stored

DTYPES = {0: torch.float32, 1: torch.float16, 30: torch.bfloat16}


def changed_rows(
    path: Path, stored: GgufTensor, kind: int, change: Change, order: np.ndarray | None
) -> Iterator[bytes]:
    """The tensor's bytes as ggml's type `kind` (F32, F16, BF16). Raises ExportRefused `dtype` where F16 overflows."""
    count, width = (stored.shape[0], stored.shape[1]) if len(stored.shape) > 1 else (1, stored.shape[0])
    add = _adder(change, _whole_order(order, stored.shape[0]))
    rows = max(1, ROWS_BYTES // (width * 8))
    taken = stored.size // count
    with path.open("rb") as file:
        for begin in range(0, count, rows):
            end = min(begin + rows, count)
            if change.whole is not None:
                weight = _rows_of(change.whole, begin, end)
            else:
                file.seek(stored.begin + begin * taken)
                weight = _dequantised(file.read((end - begin) * taken), stored, end - begin)
            result = add(weight, begin, end).to(DTYPES[kind])
            if not torch.isfinite(result).all():
                raise ExportRefused(
                    "dtype", f"{stored.name} has values beyond what the type of the result holds. Give --dtype f32."
                )
            yield result.view(torch.uint8).numpy().tobytes()


def _adder(change: Change, order: Tensor | None):
    """(rows [n, in], begin, end) → the rows with what the adapter adds."""

    def ordered(values: Tensor) -> Tensor:
        return values if order is None else values[order]

    if change.bias is not None:
        assert change.bias.bias is not None
        bias = ordered(factor(change.bias.bias)) * change.bias.scale
        return lambda weight, begin, end: weight + bias
    low = change.low
    if low is None:
        return lambda weight, begin, end: weight
    assert low.A is not None and low.B is not None
    left, right = ordered(factor(low.B)), factor(low.A)
    if low.table:
        left, right = right.T, left.T
    magnitude = None if low.magnitude is None else ordered(factor(low.magnitude).reshape(-1))

    def add(weight: Tensor, begin: int, end: int) -> Tensor:
        whole = weight + (left[begin:end] @ right) * low.scale
        if magnitude is None:
            return whole
        # DoRA: m / ‖W + ΔW‖ · (W + ΔW), each row by itself.
        return (magnitude[begin:end] / torch.linalg.norm(whole, dim=1))[:, None] * whole

    return add


def _whole_order(order: np.ndarray | None, rows: int) -> Tensor | None:
    """The order of all rows, of one that repeats in blocks."""
    if order is None:
        return None
    starts = np.arange(0, rows, len(order))
    return torch.from_numpy((starts[:, None] + order).reshape(-1))


def _dequantised(data: bytes, stored: GgufTensor, rows: int) -> Tensor:
    """Rows in float32."""
    kind = gguf.GGMLQuantizationType(stored.kind)
    block = np.frombuffer(data, np.uint8).reshape(rows, -1)
    if kind == gguf.GGMLQuantizationType.F32:
        return torch.from_numpy(block.view(np.float32).copy())
    if kind == gguf.GGMLQuantizationType.F16:
        return torch.from_numpy(block.view(np.float16).astype(np.float32))
    try:
        return torch.from_numpy(np.ascontiguousarray(gguf.quants.dequantize(block, kind), np.float32))
    except NotImplementedError:
        raise ExportRefused(
            "quantised",
            f"{stored.name} is stored as {kind.name}, which the package gguf does not dequantise. "
            "Give a GGUF file of the base in F16, or one in another quantisation.",
        ) from None


def _rows_of(whole: Stored, begin: int, end: int) -> Tensor:
    taken = whole.size // whole.shape[0]
    first, last = (whole.begin + row * taken for row in (begin, end))
    return factor(Stored(whole.file, whole.name, whole.dtype, (end - begin, *whole.shape[1:]), first, last))
