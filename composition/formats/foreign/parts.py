"""Tensors of a foreign file on their way into PEFT's: what is stored, and how it is turned, without changing a value.

Values are moved as the unsigned integers of their width, so that a transposition or a permutation of rows is exact in
every dtype. Q8_0 of GGUF is the exception: each value becomes the float32 that llama.cpp computes with.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO, Self

import numpy as np

from composition.errors import CompositionError
from composition.formats.safetensors_header import SafetensorsHeader
from composition.formats.sources import Files
from composition.formats.strict_json import shorten

WIDTHS: dict[str, type[np.unsignedinteger]] = {
    "F64": np.uint64,
    "F32": np.uint32,
    "F16": np.uint16,
    "BF16": np.uint16,
}
BLOCK = np.dtype([("d", "<f2"), ("q", "i1", (32,))])
"""Q8_0: 32 values are d · q."""

Turn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of an original file: shape as torch says it, `offset` of its first byte in the file."""

    file: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def read(self, stream: BinaryIO) -> np.ndarray:
        """Its values as unsigned integers of their width, in its shape. Raises `safetensors.truncated`."""
        count = int(np.prod(self.shape, dtype=np.int64))
        kind = BLOCK if self.dtype == "Q8_0" else np.dtype(WIDTHS[self.dtype])
        size = count // 32 * BLOCK.itemsize if self.dtype == "Q8_0" else count * kind.itemsize
        stream.seek(self.offset)
        data = stream.read(size)
        if len(data) != size:
            raise CompositionError(
                "safetensors.truncated",
                f"{self.file} ends within {shorten(self.name)}. Upload it again.",
                file=self.file,
            )
        values = np.frombuffer(data, dtype=kind)
        if self.dtype == "Q8_0":
            floats = values["d"].astype(np.float32)[:, None] * values["q"].astype(np.float32)
            values = floats.reshape(-1).view(np.uint32)
        return values.reshape(self.shape)

    def scalar(self, stream: BinaryIO) -> float:
        """The one number of a tensor such as kohya's alpha."""
        raw = self.read(stream).reshape(-1)[:1]
        if self.dtype == "BF16":
            return float((raw.astype(np.uint32) << 16).view(np.float32)[0])
        return float(raw.view({"F64": np.float64, "F32": np.float32, "F16": np.float16}[self.dtype])[0])


def stored_tensors(header: SafetensorsHeader, file: str) -> dict[str, Stored]:
    """The tensors of a safetensors file by name."""
    return {
        name: Stored(file, name, tensor.dtype, tensor.shape, header.data_start + tensor.begin)
        for name, tensor in header.tensors.items()
    }


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor as PEFT will hold it: what is stored, the shape it will have, and the steps to it."""

    stored: Stored
    shape: tuple[int, ...]
    turns: tuple[Turn, ...] = ()

    @classmethod
    def of(cls, stored: Stored) -> Self:
        return cls(stored, stored.shape)

    @property
    def dtype(self) -> str:
        """The dtype it is written in."""
        return "F32" if self.stored.dtype == "Q8_0" else self.stored.dtype

    def then(self, shape: Sequence[int], turn: Turn) -> "Part":
        """One step more."""
        return replace(self, shape=tuple(shape), turns=(*self.turns, turn))

    def transposed(self) -> "Part":
        """[a, b] → [b, a]."""
        return self.then(self.shape[::-1], np.transpose)

    def rows(self, begin: int, end: int) -> "Part":
        """The rows from `begin` to before `end`."""
        return self.then((end - begin, *self.shape[1:]), lambda values: values[begin:end])

    def ordered(self, order: np.ndarray) -> "Part":
        """Row i of the result is row `order[i]`."""
        return self.then((len(order), *self.shape[1:]), lambda values: values[order])

    def at(self, index: int) -> "Part":
        """One entry of the first dimension."""
        return self.then(self.shape[1:], lambda values: values[index])

    def shaped(self, shape: Sequence[int]) -> "Part":
        """The same values in another shape."""
        wanted = tuple(shape)
        return self.then(wanted, lambda values: values.reshape(wanted))

    def signed(self, sign: int) -> "Part":
        """Times 1, −1 or 0."""
        if sign == 1:
            return self
        top = np.array(1).astype(WIDTHS[self.dtype]) << (np.dtype(WIDTHS[self.dtype]).itemsize * 8 - 1)
        return self.then(self.shape, (lambda values: values ^ top) if sign else np.zeros_like)


class Originals:
    """The original files, each opened once: `with Originals(files) as originals: originals.values(part)`."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._streams: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stream(self, file: str) -> BinaryIO:
        """The open file."""
        if file not in self._streams:
            self._streams[file] = self._stack.enter_context(self._files[file].open())
        return self._streams[file]

    def values(self, part: Part) -> np.ndarray:
        """The part's values as unsigned integers, contiguous."""
        values = part.stored.read(self.stream(part.stored.file))
        for turn in part.turns:
            values = turn(values)
        return np.ascontiguousarray(values).reshape(part.shape)

    def scalars(self, tensors: Mapping[str, Stored]) -> dict[str, float]:
        """The numbers of these tensors."""
        return {key: stored.scalar(self.stream(stored.file)) for key, stored in tensors.items()}
