"""The head of a GGUF file, read without trusting it: metadata, and where each tensor is.

    "GGUF" | u32 version (2, 3) | u64 tensors | u64 pairs | pairs | tensor infos | zeros | tensors

Specification: ggml/docs/gguf.md. Dimensions stand in ggml's order, the fastest first; shapes here are torch's.
"""

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from composition.errors import CompositionError
from composition.formats.foreign.parts import Stored
from composition.formats.sources import FileSource
from composition.formats.strict_json import shorten

MAX_PAIRS = 10_000
MAX_TENSORS = 100_000
MAX_STRING = 1 << 20
MAX_ARRAY = 1 << 20
MAX_HEAD = 64 << 20
ALIGNMENT = "general.alignment"

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
TYPES = {0: ("F32", 4, 1), 1: ("F16", 2, 1), 8: ("Q8_0", 34, 32), 28: ("F64", 8, 1), 30: ("BF16", 2, 1)}
"""ggml's type → (dtype, bytes a block, values a block)."""

Info = tuple[str, tuple[int, ...], int, int]
"""Name, shape, ggml's type, offset."""


@dataclass(frozen=True, slots=True)
class GgufHead:
    """Metadata by key (arrays as lists), tensors by name; `other` are tensors of types that aren't read, by type."""

    metadata: dict[str, Any]
    tensors: dict[str, Stored]
    other: dict[str, int]


def read_head(source: FileSource, file: str) -> GgufHead:
    """Raises CompositionError `gguf.broken`, `gguf.too_large`."""
    with source.open() as stream:
        return _Reader(stream, source.size, file).read()


class _Reader:
    def __init__(self, stream: BinaryIO, size: int, file: str) -> None:
        self.stream, self.size, self.file = stream, size, file

    def broken(self, problem: str, code: str = "broken") -> CompositionError:
        do = "Download it again, or write it again with convert_lora_to_gguf.py."
        return CompositionError(f"gguf.{code}", f"{self.file} is no whole GGUF file: {problem}. {do}", file=self.file)

    def read(self) -> GgufHead:
        if self.take(4) != b"GGUF":
            raise self.broken("it doesn't begin with GGUF")
        version = self.number("I")
        if version not in (2, 3):
            raise self.broken(f"version {version}; 2 and 3 are read, in little-endian order")
        tensors, pairs = self.number("Q"), self.number("Q")
        if tensors > MAX_TENSORS or pairs > MAX_PAIRS:
            raise self.broken(f"it announces {tensors:,} tensors and {pairs:,} pairs", "too_large")
        metadata = {}
        for _ in range(pairs):
            key = self.string()
            metadata[key] = self.value(self.number("I"))
        infos = [self.info() for _ in range(tensors)]
        alignment = metadata.get(ALIGNMENT, 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment % 8:
            raise self.broken(f"{ALIGNMENT} is {shorten(alignment)}")
        start = -(-self.stream.tell() // alignment) * alignment
        return self.placed(metadata, infos, start)

    def placed(
        self, metadata: dict[str, Any], infos: list[tuple[str, tuple[int, ...], int, int]], start: int
    ) -> GgufHead:
        found: dict[str, Stored] = {}
        other: dict[str, int] = {}
        for name, shape, kind, offset in infos:
            if name in found or name in other:
                raise self.broken(f"{shorten(name)} is there twice")
            if kind not in TYPES:
                other[name] = kind
                continue
            dtype, width, block = TYPES[kind]
            count = 1
            for extent in shape:
                count *= extent
            if shape[-1] % block:
                raise self.broken(f"{shorten(name)} has rows of {shape[-1]} values in blocks of {block}")
            if start + offset + count // block * width > self.size:
                raise self.broken(f"{shorten(name)} goes past its end; the file was cut")
            found[name] = Stored(self.file, name, dtype, shape, start + offset)
        return GgufHead(metadata, found, other)

    def info(self) -> Info:
        name, dimensions = self.string(), self.number("I")
        if not 1 <= dimensions <= 4:
            raise self.broken(f"{shorten(name)} has {dimensions} dimensions")
        shape = tuple(self.number("Q") for _ in range(dimensions))[::-1]
        if any(not 0 < extent < 1 << 40 for extent in shape):
            raise self.broken(f"{shorten(name)} has the shape {list(shape)}")
        return name, shape, self.number("I"), self.number("Q")

    def value(self, kind: int) -> Any:
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            raise self.broken(f"a value of type {kind}")
        of, count = self.number("I"), self.number("Q")
        if count > MAX_ARRAY or of == ARRAY:
            raise self.broken(f"an array of {count:,} values of type {of}", "too_large")
        return [self.value(of) for _ in range(count)]

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))[0]

    def string(self) -> str:
        length = self.number("Q")
        if length > MAX_STRING:
            raise self.broken(f"a text of {length:,} bytes", "too_large")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise self.broken("a text that is not UTF-8") from None

    def take(self, count: int) -> bytes:
        if self.stream.tell() + count > MAX_HEAD:
            raise self.broken(f"its head has more than {MAX_HEAD:,} bytes", "too_large")
        data = self.stream.read(count)
        if len(data) != count:
            raise self.broken("it ends within its head")
        return data
