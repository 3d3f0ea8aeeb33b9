"""Safetensors files read and written by byte ranges: what a folder holds, and where.

8 bytes n, little-endian | n bytes JSON {name: {dtype, shape, data_offsets}, "__metadata__": {…}} | tensors
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .refusal import ExportRefused

MAX_HEADER = 256 * 1024 * 1024
METADATA = "__metadata__"
POINTER = b"version https://git-lfs"
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file; `begin` and `end` are bytes of the file."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.begin

    def data(self, first: int = 0, end: int | None = None) -> bytearray:
        """The bytes of the rows from `first` to `end`, all where none are given, in memory of their own.

        Raises ExportRefused `weights` where the file was cut.
        """
        row = self.size // self.shape[0] if self.shape and self.shape[0] else self.size
        data = bytearray(self.size - first * row if end is None else (end - first) * row)
        with self.file.open("rb") as file:
            file.seek(self.begin + first * row)
            if file.readinto(data) != len(data):
                raise ExportRefused("weights", f"{self.file} ends before {self.name} does. Fetch it again.")
        return data


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ExportRefused `json`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportRefused("json", f"{path} can't be read as JSON ({error}). Fetch the file again.") from None
    if not isinstance(found, dict):
        raise ExportRefused("json", f"{path} holds no JSON object. Fetch the file again.")
    return found


def read_header(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """(tensors by name in the order of their bytes, metadata). Raises ExportRefused `weights`."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8))[0]
            if length > min(MAX_HEADER, size - 8):
                raise ValueError(f"its header should have {length:,} bytes, and the file has {size:,}")
            raw = json.loads(file.read(length))
        metadata = raw.pop(METADATA, None) or {}
        start = 8 + length
        found = [_stored(path, name, entry, start) for name, entry in raw.items()]
        if any(tensor.end > size for tensor in found):
            raise ValueError("it ends before its last tensor does")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        do = "It is a Git LFS pointer; run: git lfs pull" if _is_pointer(path) else "Fetch the file again."
        raise ExportRefused("weights", f"{path} is no whole safetensors file: {error}. {do}") from None
    found.sort(key=lambda tensor: (tensor.begin, tensor.end, tensor.name))
    return {tensor.name: tensor for tensor in found}, metadata


def _is_pointer(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(POINTER)) == POINTER


def _stored(path: Path, name: str, entry: Mapping[str, Any], start: int) -> Stored:
    begin, end = entry["data_offsets"]
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    expected = math.prod(shape) * ITEM_BYTES.get(dtype, 0)
    if not 0 <= begin <= end or (dtype in ITEM_BYTES and end - begin != expected):
        raise ValueError(f"{name} of {dtype} {list(shape)} has {end - begin:,} bytes; expected {expected:,}")
    return Stored(path, name, dtype, shape, start + begin, start + end)


def header_bytes(tensors: Iterable[tuple[str, str, tuple[int, ...], int]], metadata: Mapping[str, str]) -> bytes:
    """The start of a file that holds (name, dtype, shape, bytes) in this order."""
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, dtype, shape, size in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
