"""How large each module's update is: ‖ΔW‖ = |s| · √⟨A Aᵀ, Bᵀ B⟩ (Frobenius), from a file's factors, without torch.

Two r × r Grams a module, one module in memory at a time. Halves are scaled by their largest value first where
float32 products could overflow or vanish.
"""

import math
from typing import BinaryIO

import numpy as np

from composition.formats.peft.tensors import Pair
from composition.formats.safetensors_header import SafetensorsHeader, TensorInfo

LARGEST = 256 * 1024 * 1024
"""A module whose factor has more bytes than this gets no norm: an upload is checked in little memory."""
BFLOAT16 = "BF16"
AS_IT_IS = (1e-6, 1e4)
"""Largest magnitudes of float32 factors whose products are far from both ends of float32, up to `LARGEST` bytes."""
PLAIN = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def update_norm(stream: BinaryIO, header: SafetensorsHeader, pair: Pair) -> float | None:
    """‖B A‖ of one pair, convolution kernels flattened to [r, in·k·k].

    None for factors over `LARGEST` bytes, and for a norm past float64.
    """
    assert pair.A is not None
    assert pair.B is not None
    if max(pair.A.end - pair.A.begin, pair.B.end - pair.B.begin) > LARGEST:
        return None
    rank = pair.A.shape[0]
    a, a_largest = _scaled(_read(stream, header, pair.A).reshape(rank, -1))
    b, b_largest = _scaled(_read(stream, header, pair.B).reshape(-1, rank))
    square = float(np.sum((a @ a.T) * (b.T @ b), dtype=np.float64))
    norm = a_largest * b_largest * max(square, 0.0) ** 0.5
    return norm if math.isfinite(norm) else None


def _read(stream: BinaryIO, header: SafetensorsHeader, tensor: TensorInfo) -> np.ndarray:
    stream.seek(header.data_start + tensor.begin)
    data = stream.read(tensor.end - tensor.begin)
    if tensor.dtype == BFLOAT16:
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    return np.frombuffer(data, PLAIN[tensor.dtype])


def _scaled(values: np.ndarray) -> tuple[np.ndarray, float]:
    """(values in float32, over their largest magnitude unless that is near 1 anyway; what they were divided by)."""
    largest = float(max(values.max(), -values.min()))
    if values.dtype == np.float32 and AS_IT_IS[0] < largest < AS_IT_IS[1]:
        return values, 1.0
    wide = np.promote_types(values.dtype, np.float32)
    scaled = np.divide(values, wide.type(largest or 1.0), dtype=wide)
    return scaled.astype(np.float32, copy=False), largest
