"""A GGUF model's head: where its tensors are, its metadata as they stand, and the head of a file with other tensors.

    "GGUF" | u32 version (2, 3) | u64 tensors | u64 pairs | pairs | tensor infos | zeros | tensors

Specification: ggml/docs/gguf.md. Dimensions stand in ggml's order, the fastest first; shapes here are torch's. The
pairs are kept as bytes, so that a vocabulary costs nothing and nothing of it is lost.
"""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from .refusal import ExportRefused

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
UINT32, STRING, ARRAY = 4, 8, 9
MAX_STRING = 1 << 26
FILE_TYPE = "general.file_type"


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """A tensor of the file; `kind` is ggml's type, `begin` a byte of the file, `size` in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    begin: int
    size: int


@dataclass(frozen=True)
class GgufModel:
    """`values`: metadata by key, arrays left out. `pairs`: all of it as bytes; `places`: key → its value's place."""

    path: Path
    version: int
    values: dict[str, Any]
    pairs: bytes
    count: int
    places: dict[str, int]
    tensors: dict[str, GgufTensor]
    alignment: int

    def head(self, tensors: Iterable[GgufTensor], file_type: int | None = None) -> bytes:
        """All bytes up to the first tensor's, for these tensors one after another; `begin` is not looked at.

        `file_type` takes the place of `general.file_type`, where there is one.
        """
        pairs = bytearray(self.pairs)
        if file_type is not None and FILE_TYPE in self.places:
            struct.pack_into("<I", pairs, self.places[FILE_TYPE], file_type)
        infos, offset = [], 0
        for tensor in tensors:
            name, shape = tensor.name.encode(), tensor.shape[::-1]
            infos.append(struct.pack("<Q", len(name)) + name)
            infos.append(struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, tensor.kind, offset))
            offset += tensor.size + self.padding(tensor.size)
        start = b"GGUF" + struct.pack("<IQQ", self.version, len(infos) // 2, self.count)
        head = start + bytes(pairs) + b"".join(infos)
        return head + bytes(self.padding(len(head)))

    def padding(self, size: int) -> int:
        """Zero bytes after `size` bytes."""
        return -size % self.alignment


def read_gguf(path: Path) -> GgufModel:
    """The model in a GGUF file; no tensor is read. Raises ExportRefused `gguf`."""
    try:
        with path.open("rb") as stream:
            return _Reader(stream, path).read()
    except (OSError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise ExportRefused("gguf", f"{path} is no whole GGUF file: {error}. Fetch it again.") from None


class _Reader:
    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self.stream, self.path, self.size = stream, path, os.fstat(stream.fileno()).st_size

    def read(self) -> GgufModel:
        if self.take(4) != b"GGUF":
            raise ValueError("it doesn't begin with GGUF")
        version = self.number("I")
        if version not in (2, 3):
            raise ValueError(f"its version is {version}; 2 and 3 are read, in little-endian order")
        count, pairs = self.number("Q"), self.number("Q")
        begin, values, places = self.stream.tell(), {}, {}
        for _ in range(pairs):
            key, kind = self.string(), self.number("I")
            if kind == UINT32:
                places[key] = self.stream.tell() - begin
            if kind == ARRAY:
                self.skip_array()
            else:
                values[key] = self.string() if kind == STRING else self.number(NUMBERS.get(kind, ""))
        end = self.stream.tell()
        infos = [self.info() for _ in range(count)]
        alignment = values.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment % 8:
            raise ValueError(f"general.alignment is {alignment}")
        start = -(-self.stream.tell() // alignment) * alignment
        tensors = {name: self.placed(name, shape, kind, start + offset) for name, shape, kind, offset in infos}
        self.stream.seek(begin)
        whole = self.take(end - begin)
        return GgufModel(self.path, version, values, whole, pairs, places, tensors, alignment)

    def placed(self, name: str, shape: tuple[int, ...], kind: int, begin: int) -> GgufTensor:
        import gguf

        if kind not in gguf.GGML_QUANT_SIZES:
            raise ExportRefused(
                "gguf",
                f"{name} of {self.path} has the type {kind}, which the installed package gguf does not know. "
                "Install a newer one (pip install -U gguf), or give the base in another quantisation.",
            )
        values, width = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
        rows = 1
        for extent in shape[:-1]:
            rows *= extent
        size = rows * (shape[-1] // values) * width
        if shape[-1] % values or begin + size > self.size:
            raise ValueError(f"{name} of {list(shape)} does not end within the file")
        return GgufTensor(name, shape, kind, begin, size)

    def info(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = self.string(), self.number("I")
        if not 1 <= dimensions <= 4:
            raise ValueError(f"{name} has {dimensions} dimensions")
        return name, tuple(self.number("Q") for _ in range(dimensions))[::-1], self.number("I"), self.number("Q")

    def skip_array(self) -> None:
        of, count = self.number("I"), self.number("Q")
        if of == STRING:
            for _ in range(count):
                self.skip(self.number("Q"))
        else:
            if of not in NUMBERS:
                raise ValueError(f"it has an array of type {of}")
            self.skip(count * struct.calcsize(NUMBERS[of]))

    def skip(self, count: int) -> None:
        if self.stream.tell() + count > self.size:
            raise ValueError("it ends within its head")
        self.stream.seek(count, os.SEEK_CUR)

    def number(self, code: str) -> Any:
        if not code:
            raise ValueError("it has a value of an unknown type")
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def string(self) -> str:
        length = self.number("Q")
        if length > MAX_STRING:
            raise ValueError(f"it has a text of {length:,} bytes")
        return self.take(length).decode()

    def take(self, count: int) -> bytes:
        data = self.stream.read(count)
        if len(data) != count:
            raise ValueError("it ends within its head")
        return data
