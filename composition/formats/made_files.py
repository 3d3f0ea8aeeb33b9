"""Files that are laid out before they are read: a head and blocks, each block made of a piece of another file.

Size and any range are known without making the file, so a server streams it, resumes it and never holds it. A block
takes `rows` rows of `taken` bytes from byte `start` of the source and makes `rows` rows of `given` bytes of them. Used
by what cuts an adapter out of a mixture, writes it in the uniform form, or exports it. Torch-free.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import numpy as np

from composition.formats.safetensors_header import DTYPE_BYTES, TensorInfo
from composition.formats.sources import FileSource

READ = 4 * 1024 * 1024
"""Bytes of the source that are read at once."""

Change = Callable[[np.ndarray], np.ndarray]
"""uint8 [rows, taken] → an array whose bytes are [rows, given]."""

FLOATS: Mapping[str, type] = {"F16": np.float16, "F32": np.float32, "F64": np.float64}
"""The header's code of a dtype → numpy's; BF16 has none, see `widened`."""


class Block(Protocol):
    """A run of the made file's bytes: its size, and any piece of it."""

    @property
    def size(self) -> int: ...

    def read(self, stream: BinaryIO, begin: int, end: int) -> bytes:
        """Some of the bytes [begin, end) of this block from `begin` on, at least one; `stream` is the source."""


def _same(block: np.ndarray) -> np.ndarray:
    return block


@dataclass(frozen=True, slots=True)
class Rows:
    """`rows` rows of `taken` bytes from byte `start` of the source, each made into `given` bytes by `change`."""

    start: int
    rows: int
    taken: int
    given: int
    change: Change = _same

    @property
    def size(self) -> int:
        """Bytes in the made file."""
        return self.rows * self.given

    def read(self, stream: BinaryIO, begin: int, end: int) -> bytes:
        """From `begin`, up to `end` or as many as READ source bytes make."""
        if self.change is _same:
            stream.seek(self.start + begin)
            return exactly(stream, min(end - begin, READ))
        first = begin // self.given
        last = min(-(-end // self.given), first + max(1, READ // self.taken))
        stream.seek(self.start + first * self.taken)
        data = exactly(stream, (last - first) * self.taken)
        made = self.change(np.frombuffer(data, np.uint8).reshape(last - first, self.taken))
        data = made.tobytes()
        skipped = begin - first * self.given
        return data[skipped : end - first * self.given] if skipped or end < last * self.given else data


@dataclass(frozen=True, slots=True)
class Zeros:
    """`size` bytes of zero."""

    size: int

    def read(self, stream: BinaryIO, begin: int, end: int) -> bytes:
        """From `begin`, at most READ bytes."""
        return bytes(min(end - begin, READ))


def tensor_rows(
    data_start: int,
    tensor: TensorInfo,
    *,
    rows: tuple[int, int] | None = None,
    given: int | None = None,
    change: Change = _same,
) -> Rows:
    """Rows [begin, end) (default: all) of a stored tensor along its first axis, each made into `given` bytes (default:
    as many)."""
    high = tensor.shape[0]
    taken = tensor.elements // max(high, 1) * DTYPE_BYTES[tensor.dtype]
    begin, end = rows or (0, high)
    return Rows(
        data_start + tensor.begin + begin * taken, end - begin, taken, taken if given is None else given, change
    )


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A FileSource: `head`, then the blocks, made of `source` as they are read."""

    head: bytes
    blocks: Sequence[Block]
    source: FileSource

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return len(self.head) + sum(block.size for block in self.blocks)

    def open(self) -> BinaryIO:
        """A seekable stream."""
        return io.BufferedReader(_Stream(self.head, self.blocks, self.source), 1 << 20)


class _Stream(io.RawIOBase):
    def __init__(self, head: bytes, blocks: Sequence[Block], source: FileSource) -> None:
        self._head, self._blocks, self._stream = head, [block for block in blocks if block.size], source.open()
        self._ends = np.cumsum([len(head), *(block.size for block in self._blocks)], dtype=np.int64)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: int(self._ends[-1])}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        found = self._next(len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _next(self, count: int) -> bytes:
        """At most `count` bytes from here, out of one block."""
        number = int(np.searchsorted(self._ends, self._at, side="right"))
        if number == 0:
            return self._head[self._at : self._at + count]
        if number == len(self._ends):
            return b""
        begin = self._at - int(self._ends[number - 1])
        block = self._blocks[number - 1]
        return block.read(self._stream, begin, min(block.size, begin + count))


def widened(dtype: str, block: np.ndarray) -> np.ndarray:
    """The values of a uint8 block of BF16 (as float32), F16, F32 or F64."""
    block = np.ascontiguousarray(block)
    if dtype == "BF16":
        return (block.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return block.view(FLOATS[dtype])


def exactly(stream: BinaryIO, count: int) -> bytes:
    """`count` bytes; OSError where the source ends before."""
    found = stream.read(count)
    while len(found) < count:
        more = stream.read(count - len(found))
        if not more:
            raise OSError("the stored weights are shorter than their header says")
        found += more
    return found
