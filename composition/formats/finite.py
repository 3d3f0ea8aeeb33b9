"""Whether every value of a safetensors file is finite: one pass over the bytes, without torch and without floats.

In every IEEE-like format the bits without the sign order numbers by magnitude, with infinity and NaN at the top. So
the largest of `bits & ~sign` tells whether a value is not finite, and whether all are zero, at the speed of memory.
Little-endian machines only, as safetensors itself.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import BinaryIO

import numpy as np

from composition.formats.safetensors_header import SafetensorsHeader, TensorInfo

CHUNK = 1024 * 1024

# dtype -> (unsigned integers of its width, mask of all but the sign, first bits that are not finite)
_BITS: dict[str, tuple[type[np.unsignedinteger], int, int]] = {
    "F64": (np.uint64, 0x7FFF_FFFF_FFFF_FFFF, 0x7FF0_0000_0000_0000),
    "F32": (np.uint32, 0x7FFF_FFFF, 0x7F80_0000),
    "F16": (np.uint16, 0x7FFF, 0x7C00),
    "BF16": (np.uint16, 0x7FFF, 0x7F80),
    "F8_E5M2": (np.uint8, 0x7F, 0x7C),
    "F8_E4M3": (np.uint8, 0x7F, 0x7F),
    "F8_E8M0": (np.uint8, 0xFF, 0xFF),
}


class Truncated(Exception):
    """The stream ended before its last tensor."""


def scan(
    stream: BinaryIO,
    header: SafetensorsHeader,
    *,
    known: Mapping[str, int] = MappingProxyType({}),
    advance: Callable[[int], None] | None = None,
) -> tuple[list[str], set[str]]:
    """Names of the tensors that hold NaN or infinity, and of those that hold nothing but zeros.

    `stream` is positioned at `header.data_start`; at most `CHUNK` bytes are held. `known` are tensors whose largest
    bits (`read`) are known, which are not read again. `advance(bytes)` reports progress. Raises Truncated.
    """
    broken: list[str] = []
    zero: set[str] = set()
    view, masked = memoryview(bytearray(CHUNK)), scratch()
    for name, tensor in header.tensors.items():
        if name not in known:
            if known:
                stream.seek(header.data_start + tensor.begin)
            largest = read(stream, tensor, view, masked, advance)
        else:
            largest = known[name]
        if is_broken(tensor.dtype, largest):
            broken.append(name)
        if tensor.dtype in _BITS and largest == 0 and tensor.elements:
            zero.add(name)
    return broken, zero


def is_broken(dtype: str, largest: int) -> bool:
    """Whether the largest bits of a tensor are those of NaN or infinity."""
    return dtype in _BITS and largest >= _BITS[dtype][2]


def magnitude(dtype: str, largest: int) -> float:
    """The value of the largest bits of a tensor of F64, F32, F16 or BF16."""
    if dtype == "BF16":
        dtype, largest = "F32", largest << 16
    kind = _BITS[dtype][0]
    return float(np.array(largest, dtype=kind).view(f"f{kind().itemsize}"))


def scratch() -> np.ndarray:
    """Memory that `read` computes in."""
    return np.empty(CHUNK, dtype=np.uint8)


def read(
    stream: BinaryIO,
    tensor: TensorInfo,
    view: memoryview,
    masked: np.ndarray,
    advance: Callable[[int], None] | None = None,
) -> int:
    """The largest bits without their sign of a tensor that the stream is positioned at.

    `view` holds it whole afterwards, or where it has `CHUNK` bytes only, the last that were read. Raises Truncated.
    """
    kind, mask, _ = _BITS.get(tensor.dtype, (np.uint8, 0xFF, 0))
    done, size, largest = 0, tensor.end - tensor.begin, 0
    while done < size:
        count, at = min(size - done, CHUNK), done if len(view) >= size else 0
        _fill(stream, view[at : at + count])
        values, out = np.frombuffer(view[at : at + count], dtype=kind), masked[:count].view(kind)
        np.bitwise_and(values, kind(mask), out=out)
        largest = max(largest, int(out.max()))
        done += count
        if advance is not None:
            advance(count)
    return largest


def _fill(stream: BinaryIO, view: memoryview) -> None:
    """Read exactly as many bytes as the view holds; raw streams may give fewer at a time."""
    done = 0
    while done < len(view):
        if hasattr(stream, "readinto"):
            count = stream.readinto(view[done:])
        else:
            data = stream.read(len(view) - done)
            count = len(data)
            view[done : done + count] = data
        if not count:
            raise Truncated
        done += count
