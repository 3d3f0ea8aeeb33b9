"""The start of a GGUF file, version 3: metadata and where each tensor is.

    "GGUF" | u32 version | u64 tensors | u64 pairs | pairs | tensor infos | zeros up to 32 | tensors, each up to 32

Specification: ggml/docs/gguf.md. Dimensions stand in ggml's order, the fastest first: a matrix [rows, columns] is
written (columns, rows).
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32
GGML_TYPES = {"F32": 0, "F16": 1, "BF16": 30}
UINT32, FLOAT32, STRING = 4, 6, 8


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor to be written: its name, shape in row order, dtype (F32, F16, BF16) and bytes."""

    name: str
    shape: Sequence[int]
    dtype: str
    size: int


def padding(size: int) -> int:
    """Zero bytes after `size` bytes."""
    return -size % ALIGNMENT


def gguf_head(metadata: Mapping[str, str | int | float], tensors: Sequence[GgufTensor]) -> bytes:
    """All bytes up to the first tensor's. A str is written as string, an int as uint32, a float as float32."""
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [gguf_string(key), _value(value)]
    offset = 0
    for tensor in tensors:
        dimensions = tensor.shape[::-1]
        parts.append(gguf_string(tensor.name))
        parts.append(struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions))
        parts.append(struct.pack("<IQ", GGML_TYPES[tensor.dtype], offset))
        offset += tensor.size + padding(tensor.size)
    head = b"".join(parts)
    return head + bytes(padding(len(head)))


def gguf_string(text: str) -> bytes:
    """A string as GGUF writes it: u64 length, UTF-8."""
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: str | int | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", STRING) + gguf_string(value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    return struct.pack("<If", FLOAT32, value)
