"""How large each module's update is: ‖ΔW‖ = |s| · √⟨A Aᵀ, Bᵀ B⟩ (Frobenius), from a file's factors, without torch.

Two r × r Grams a module, one module in memory at a time. Halves are scaled by their largest value first where
float32 products could overflow or vanish. The same look tells whether values are finite, so that a file is read once;
of a large file two threads read a half each.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

from composition.formats import finite
from composition.formats.peft.tensors import Pair
from composition.formats.safetensors_header import SafetensorsHeader, TensorInfo
from composition.formats.sources import FileSource

LARGEST = 256 * 1024 * 1024
"""A module whose factor has more bytes than this gets no norm: an upload is checked in little memory."""
SHARED, SHARED_FACTOR = 32 << 20, 16 << 20
"""Two threads look at factors of more bytes than this, if none has more than that: each holds a module."""
BFLOAT16 = "BF16"
AS_IT_IS = (1e-6, 1e4)
"""Largest magnitudes of float32 factors whose products are far from both ends of float32, up to `LARGEST` bytes."""
PLAIN = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def update_norm(stream: BinaryIO, header: SafetensorsHeader, pair: Pair) -> float | None:
    """‖B A‖ of one pair, convolution kernels flattened to [r, in·k·k].

    None for factors over `LARGEST` bytes, for values that are not finite, and for a norm past float64.
    """
    return None if _bytes(pair) > LARGEST else _Reader(stream, header).look(pair)[0]


def look(
    source: FileSource, header: SafetensorsHeader, pairs: Mapping[str, Pair]
) -> tuple[dict[str, float | None], dict[str, int]]:
    """`update_norm` of every pair by module, and the largest bits (`finite.read`) of the tensors that were read for it.

    Raises `finite.Truncated`.
    """
    small = [name for name, pair in pairs.items() if _bytes(pair) <= LARGEST]
    small.sort(key=lambda name: _halves(pairs[name])[0].begin)
    parts = [small]
    if _together(small, pairs) and (os.cpu_count() or 1) > 1:
        parts = [small[: len(small) // 2], small[len(small) // 2 :]]
    norms: dict[str, float | None] = dict.fromkeys(pairs)
    bits: dict[str, int] = {}
    with ThreadPoolExecutor(len(parts)) as threads:
        for found in threads.map(lambda names: list(_look(source, header, pairs, names)), parts):
            for name, norm, largest in found:
                norms[name] = norm
                for half, value in zip("AB", largest, strict=True):
                    stored = pairs[name].stored.get(half, [])
                    if len(stored) == 1:  # Of several, the factor is made, and each is looked at for itself.
                        bits[stored[0]] = value
    return norms, bits


def _together(names: Sequence[str], pairs: Mapping[str, Pair]) -> bool:
    sizes = [_bytes(pairs[name]) for name in names]
    return len(sizes) > 1 and sum(sizes) > SHARED and max(sizes) <= SHARED_FACTOR


def _look(
    source: FileSource, header: SafetensorsHeader, pairs: Mapping[str, Pair], names: Sequence[str]
) -> Iterator[tuple[str, float | None, tuple[int, int]]]:
    with source.open() as stream:
        reader = _Reader(stream, header)
        for name in names:
            yield name, *reader.look(pairs[name])


def _halves(pair: Pair) -> tuple[TensorInfo, TensorInfo]:
    assert pair.A is not None
    assert pair.B is not None
    return pair.A, pair.B


def _bytes(pair: Pair) -> int:
    """Bytes of the larger factor."""
    return max(half.end - half.begin for half in _halves(pair))


class _Half:
    """Memory for one factor after the other: new memory for each costs as much as reading it."""

    def __init__(self) -> None:
        self.stored, self.wide = bytearray(), np.empty(0, dtype=np.float32)

    def view(self, size: int) -> memoryview:
        """`size` bytes."""
        if len(self.stored) < size:
            self.stored = bytearray(size)
        return memoryview(self.stored)[:size]

    def floats(self, count: int) -> np.ndarray:
        """`count` float32."""
        if len(self.wide) < count:
            self.wide = np.empty(count, dtype=np.float32)
        return self.wide[:count]


class _Reader:
    """Reads pairs, one at a time."""

    def __init__(self, stream: BinaryIO, header: SafetensorsHeader) -> None:
        self.stream, self.header = stream, header
        self.a, self.b, self.scratch = _Half(), _Half(), finite.scratch()

    def look(self, pair: Pair) -> tuple[float | None, tuple[int, int]]:
        """(‖B A‖, None for none; the largest bits of A and of B)."""
        (a_info, b_info), rank = _halves(pair), _halves(pair)[0].shape[0]
        a, a_bits = self._read(self.a, a_info)
        b, b_bits = self._read(self.b, b_info)
        if finite.is_broken(a_info.dtype, a_bits) or finite.is_broken(b_info.dtype, b_bits):
            return None, (a_bits, b_bits)
        a, a_largest = _scaled(a, finite.magnitude(a_info.dtype, a_bits), self.a)
        b, b_largest = _scaled(b, finite.magnitude(b_info.dtype, b_bits), self.b)
        a, b = a.reshape(rank, -1), b.reshape(-1, rank)
        square = float(np.sum((a @ a.T) * (b.T @ b), dtype=np.float64))
        norm = a_largest * b_largest * max(square, 0.0) ** 0.5
        return (norm if math.isfinite(norm) else None), (a_bits, b_bits)

    def _read(self, half: _Half, tensor: TensorInfo) -> tuple[np.ndarray, int]:
        """(the values as floats, the largest bits)."""
        view = half.view(tensor.end - tensor.begin)
        self.stream.seek(self.header.data_start + tensor.begin)
        bits = finite.read(self.stream, tensor, view, self.scratch)
        if tensor.dtype != BFLOAT16:
            return np.frombuffer(view, PLAIN[tensor.dtype]), bits
        stored = np.frombuffer(view, "<u2")
        floats = half.floats(len(stored))
        np.left_shift(stored, 16, out=floats.view("<u4"), dtype="<u4")
        return floats, bits


def _scaled(values: np.ndarray, largest: float, half: _Half) -> tuple[np.ndarray, float]:
    """(values in float32, over their largest magnitude unless that is near 1 anyway; what they were divided by)."""
    if values.dtype == np.float32 and AS_IT_IS[0] < largest < AS_IT_IS[1]:
        return values, 1.0
    wide = np.promote_types(values.dtype, np.float32)
    out = half.floats(len(values)) if wide == np.float32 else None
    scaled = np.divide(values, wide.type(largest or 1.0), dtype=wide, out=out)
    return scaled.astype(np.float32, copy=False), largest
