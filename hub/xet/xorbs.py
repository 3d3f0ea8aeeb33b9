"""Xorbs: up to 64 MiB of chunks under one hash, as a client posts them.

A body is read once, chunk by chunk, in bounded memory: every length is checked before it is believed, every chunk is
unpacked and hashed, and at the end the xorb's hash must be the one under which it was sent. What is left is an index,
from which files are checked without another look at the bytes, and the raw bytes: a file is then a copy of ranges.
Source: https://huggingface.co/docs/xet/xorb.
"""

import struct
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeVar

from hub.xet.chunks import HEADER, Unpacker, read_header
from hub.xet.errors import XetError
from hub.xet.hashing import SIZE, Tree, chunk_hash, to_hex

MAX_CHUNKS = 8192
# The stock client fills a xorb up to 64 MiB of raw bytes, and the headers of chunks come on top.
MAX_BODY = MAX_RAW = 72 << 20
BLOCK, PIECE = 1 << 20, 256 << 10

FOOTER = b"XETBLOB"
_NONCE = 16  # Bytes of a footer that mean nothing, before its length.


@dataclass(frozen=True)
class XorbIndex:
    """What a xorb holds, chunk by chunk; numbers count from 0 and ranges are [start, end).

    `hashes` is [n * 32] bytes, `ends` [n] says where each chunk ends among the raw bytes.
    """

    hash: bytes
    hashes: bytes
    ends: array

    def __len__(self) -> int:
        return len(self.ends)

    def raw_range(self, start: int, end: int) -> tuple[int, int]:
        """Where chunks [start, end) begin and end among the raw bytes."""
        return (self.ends[start - 1] if start else 0), self.ends[end - 1]

    def chunks(self, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int]]:
        """(hash, length) of chunks [start, end), all by default."""
        for number in range(start, len(self) if end is None else end):
            begins, ends = self.raw_range(number, number + 1)
            yield self.hashes[number * SIZE : (number + 1) * SIZE], ends - begins

    def to_bytes(self) -> bytes:
        """As a store keeps it: the xorb's hash, its chunks' hashes, then their ends as little-endian 32-bit numbers."""
        return self.hash + self.hashes + _numbers(self.ends)

    @classmethod
    def from_bytes(cls, kept: bytes) -> "XorbIndex":
        """Read what `to_bytes` gave; ValueError for anything else."""
        count, rest = divmod(len(kept) - SIZE, SIZE + 4)
        if count < 1 or rest:
            raise ValueError(f"{len(kept)} bytes are no index of a xorb")
        at = SIZE + count * SIZE
        return cls(kept[:SIZE], kept[SIZE:at], array("I", struct.unpack(f"<{count}I", kept[at:])))


class StoredXorb(Protocol):
    """A xorb that is kept: its index, and the raw bytes of any range of its chunks."""

    index: XorbIndex

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """The raw bytes of chunks [start, end), in blocks of at most 1 MiB; OSError if they are not there."""

    def close(self) -> None:
        """It is not read any more."""


def receive_xorb(body: BinaryIO, claimed: bytes, write: Callable[[bytes | memoryview], object]) -> XorbIndex:
    """Read a xorb as posted under the hash `claimed`, give each chunk's raw bytes to `write`, and return its index.

    Only a return says that the xorb is what it claims to be: on XetError, throw away what was written. `body` is read
    to its end, with a footer or without.
    """
    receiver = XorbReceiver(claimed, write)
    while data := body.read(PIECE):
        receiver.feed(data)
    return receiver.finish()


class XorbReceiver:
    """The same for a body that comes piece by piece; not for two threads at once.

    `feed` raises XetError as soon as a piece can't be of such a xorb. After that nothing else may be called.
    """

    def __init__(self, claimed: bytes, write: Callable[[bytes | memoryview], object]) -> None:
        self.claimed, self.write = claimed, write
        self.tree, self.unpacker = Tree(), Unpacker()
        self.hashes, self.ends, self.frame_ends = bytearray(), array("I"), array("I")
        self.read_so_far = self.raw = 0
        self._held, self._ended = memoryview(b""), False
        self._steps = self._receive()
        next(self._steps)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        if data:
            self._steps.send(data)

    def finish(self) -> XorbIndex:
        """The index of the xorb, which has come whole."""
        try:
            self._steps.send(b"")
        except StopIteration as end:
            return end.value
        raise RuntimeError("a xorb goes on after its end")

    def _receive(self) -> "Steps[XorbIndex]":
        while head := bytes((yield from self._take(HEADER))):
            if head.startswith(FOOTER):
                break
            yield from self._chunk(head)
        if not self.ends:
            raise XetError("xorb_empty", "The xorb holds no chunk. Send at least one.")
        found = self.tree.root()
        if found != self.claimed:
            raise XetError(
                "xorb_hash",
                f"The xorb was sent as {to_hex(self.claimed)}, and its chunks make {to_hex(found)}. Send it again.",
                xorb=to_hex(self.claimed),
            )
        index = XorbIndex(found, bytes(self.hashes), self.ends)
        if head:
            yield from self._footer(head, index)
        return index

    def _chunk(self, head: bytes) -> "Steps[None]":
        number = len(self.ends)
        if number == MAX_CHUNKS:
            raise XetError("xorb_too_large", f"The xorb has more than {MAX_CHUNKS:,} chunks. Split it.")
        if len(head) < HEADER:
            raise _cut(number)
        header = read_header(head, number)
        if self.read_so_far + header.packed > MAX_BODY or self.raw + header.raw > MAX_RAW:
            raise XetError("xorb_too_large", f"The xorb has more than {MAX_RAW >> 20} MiB. Split it.")
        data = yield from self._take(header.packed)
        if len(data) < header.packed:
            raise _cut(number)
        raw = self.unpacker.unpack(header, data, number)
        digest = chunk_hash(raw)
        self.tree.add(digest, header.raw)
        self.raw += header.raw
        self.hashes += digest
        self.ends.append(self.raw)
        self.frame_ends.append(self.read_so_far)
        self.write(raw)

    def _footer(self, head: bytes, index: XorbIndex) -> "Steps[None]":
        """Refuse a footer that says anything else than the chunks do; of its nonce nothing is expected."""
        expected = _footer_of(index, self.frame_ends)
        given = head + (yield from self._take(len(expected) + 1 - len(head)))
        meaning = len(expected) - _NONCE - 4
        if (
            len(given) != len(expected)
            or given[:meaning] != expected[:meaning]
            or given[meaning + _NONCE :] != expected[meaning + _NONCE :]
        ):
            raise XetError(
                "xorb_footer",
                "The footer of the xorb doesn't agree with its chunks. Leave it out, or send one of version 1.",
            )

    def _take(self, size: int) -> "Steps[memoryview]":
        """The next `size` bytes, fewer at the body's end only."""
        found, self._held = self._held[:size], self._held[size:]
        if len(found) < size and not self._ended:
            found = yield from self._across(found, size)
        self.read_so_far += len(found)
        return found

    def _across(self, begin: memoryview, size: int) -> "Steps[memoryview]":
        """What begins in one piece and ends in another, copied together; the rest of a piece is not."""
        parts, left = [begin], size - len(begin)
        while left and not self._ended:
            data = memoryview((yield))
            self._ended = not data
            parts.append(data[:left])
            left -= len(parts[-1])
            self._held = data[len(parts[-1]) :]
        return memoryview(b"".join(parts))


T = TypeVar("T")
Steps = Generator[None, bytes, T]
"""What reads as far as the bytes go that have come, and is sent the next ones; b"" at the end."""


def _footer_of(index: XorbIndex, frame_ends: array) -> bytes:
    """The footer of a xorb, version 1, with its length behind it: the hashes, then where chunks end, packed and raw."""
    count = _numbers([len(index)])
    hashes = b"XBLBHSH\0" + count + index.hashes
    bounds = b"XBLBBND\1" + count + _numbers(frame_ends) + _numbers(index.ends)
    tail = len(bounds) + 3 * 4 + _NONCE
    whole = FOOTER + b"\1" + index.hash + hashes + bounds + count + _numbers([tail + len(hashes), tail]) + bytes(_NONCE)
    return whole + _numbers([len(whole)])


def _numbers(values: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def _cut(number: int) -> XetError:
    return XetError("xorb_cut", f"The xorb ends within chunk {number}. Send it again, whole.", chunk=number)


class RawXorb:
    """A xorb kept as the raw bytes that `receive_xorb` wrote: a range is one read."""

    def __init__(self, index: XorbIndex, file: BinaryIO) -> None:
        self.index, self.file = index, file

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """The raw bytes of chunks [start, end), in blocks; OSError if the file is shorter than its index says."""
        at, stop = self.index.raw_range(start, end)
        self.file.seek(at)
        while at < stop:
            block = self.file.read(min(BLOCK, stop - at))
            if not block:
                raise OSError(f"the stored xorb {to_hex(self.index.hash)} ends at {at}, short of {stop}")
            at += len(block)
            yield block

    def close(self) -> None:
        """Close the file."""
        self.file.close()
