"""Xorbs: up to 64 MiB of chunks under one hash, as a client posts them.

A body is read once, chunk by chunk, in bounded memory: every length is checked before it is believed, every chunk is
unpacked and hashed, and at the end the xorb's hash must be the one under which it was sent. What is left is an index,
from which files are checked without another look at the bytes. Source: https://huggingface.co/docs/xet/xorb.
"""

import struct
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from hub.xet.chunks import HEADER, Unpacker, read_header
from hub.xet.errors import XetError
from hub.xet.hashing import SIZE, Tree, chunk_hash, to_hex

MAX_CHUNKS = 8192
# The stock client fills a xorb up to 64 MiB of raw bytes, and the headers of chunks come on top.
MAX_BODY = MAX_RAW = 72 << 20
BLOCK = 1 << 20

FOOTER = b"XETBLOB"
_NONCE = 16  # Bytes of a footer that mean nothing, before its length.
_LENGTHS = struct.Struct("<II")


@dataclass(frozen=True)
class XorbIndex:
    """What a xorb holds, chunk by chunk; numbers count from 0 and ranges are [start, end).

    `hashes` is [n * 32] bytes. `ends` says where each chunk ends among the raw bytes, `frame_ends` where its frame ends
    in the body as sent; both have n entries and begin at the first chunk's end.
    """

    hash: bytes
    hashes: bytes
    ends: array
    frame_ends: array

    def __len__(self) -> int:
        return len(self.ends)

    def raw_range(self, start: int, end: int) -> tuple[int, int]:
        """Where chunks [start, end) begin and end among the raw bytes."""
        return (self.ends[start - 1] if start else 0), self.ends[end - 1]

    def frame_range(self, start: int, end: int) -> tuple[int, int]:
        """Where their frames begin and end in the body as sent."""
        return (self.frame_ends[start - 1] if start else 0), self.frame_ends[end - 1]

    def chunks(self, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int]]:
        """(hash, length) of chunks [start, end), all by default."""
        for number in range(start, len(self) if end is None else end):
            begins, ends = self.raw_range(number, number + 1)
            yield self.hashes[number * SIZE : (number + 1) * SIZE], ends - begins

    def to_bytes(self) -> bytes:
        """As a store keeps it: the xorb's hash, all chunks' hashes, then (end, frame end) of each, 40 bytes a chunk."""
        return self.hash + self.hashes + b"".join(map(_LENGTHS.pack, self.ends, self.frame_ends))

    @classmethod
    def from_bytes(cls, kept: bytes) -> "XorbIndex":
        """Read what `to_bytes` gave; ValueError for anything else."""
        count, rest = divmod(len(kept) - SIZE, SIZE + _LENGTHS.size)
        if count < 1 or rest:
            raise ValueError(f"{len(kept)} bytes are no index of a xorb")
        at = SIZE + count * SIZE
        ends, frame_ends = zip(*_LENGTHS.iter_unpack(kept[at:]), strict=True)
        return cls(kept[:SIZE], kept[SIZE:at], array("I", ends), array("I", frame_ends))


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
    return _Receiver(body, write).receive(claimed)


class _Receiver:
    def __init__(self, body: BinaryIO, write: Callable[[bytes | memoryview], object]) -> None:
        self.body, self.write = body, write
        self.tree, self.unpacker = Tree(), Unpacker()
        self.hashes, self.ends, self.frame_ends = bytearray(), array("I"), array("I")
        self.read_so_far = self.raw = 0

    def receive(self, claimed: bytes) -> XorbIndex:
        while head := self._read(HEADER):
            if head.startswith(FOOTER):
                break
            self._chunk(head)
        if not self.ends:
            raise XetError("xorb_empty", "The xorb holds no chunk. Send at least one.")
        found = self.tree.root()
        if found != claimed:
            raise XetError(
                "xorb_hash",
                f"The xorb was sent as {to_hex(claimed)}, and its chunks make {to_hex(found)}. Send it again.",
                xorb=to_hex(claimed),
            )
        index = XorbIndex(found, bytes(self.hashes), self.ends, self.frame_ends)
        if head:
            self._footer(head, index)
        return index

    def _chunk(self, head: bytes) -> None:
        number = len(self.ends)
        if number == MAX_CHUNKS:
            raise XetError("xorb_too_large", f"The xorb has more than {MAX_CHUNKS:,} chunks. Split it.")
        if len(head) < HEADER:
            raise _cut(number)
        header = read_header(head, number)
        if self.read_so_far + header.packed > MAX_BODY or self.raw + header.raw > MAX_RAW:
            raise XetError("xorb_too_large", f"The xorb has more than {MAX_RAW >> 20} MiB. Split it.")
        data = self._read(header.packed)
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

    def _footer(self, head: bytes, index: XorbIndex) -> None:
        """Refuse a footer that says anything else than the chunks do; of its nonce nothing is expected."""
        expected = footer(index)
        given = head + self._read(len(expected) + 1 - len(head))
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

    def _read(self, size: int) -> bytes:
        """`size` bytes, or what is left; a stream may give them in pieces."""
        data = self.body.read(size)
        while 0 < len(data) < size:
            more = self.body.read(size - len(data))
            if not more:
                break
            data += more
        self.read_so_far += len(data)
        return data


def footer(index: XorbIndex) -> bytes:
    """The footer of a xorb, version 1, with its length behind it: the hashes, then where chunks end, packed and raw."""
    count = struct.pack("<I", len(index))
    hashes = b"XBLBHSH\0" + count + index.hashes
    bounds = b"XBLBBND\1" + count + _little(index.frame_ends) + _little(index.ends)
    tail = len(bounds) + 12 + _NONCE
    whole = FOOTER + b"\1" + index.hash + hashes + bounds + count + _LENGTHS.pack(tail + len(hashes), tail)
    whole += bytes(_NONCE)
    return whole + struct.pack("<I", len(whole))


def _little(values: array) -> bytes:
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


class PackedXorb:
    """A xorb kept as it was sent: the frames of a range are read and unpacked, the rest is left alone."""

    def __init__(self, index: XorbIndex, file: BinaryIO) -> None:
        self.index, self.file = index, file
        self.unpacker = Unpacker()

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """The raw bytes of chunks [start, end), one by one; OSError if the file is not what its index says."""
        begins = self.index.frame_range(start, end)[0]
        self.file.seek(begins)
        for number in range(start, end):
            begins, ends = self.index.frame_range(number, number + 1)
            frame = self.file.read(ends - begins)
            try:
                header = read_header(frame, number)
                if len(frame) != HEADER + header.packed:
                    raise _cut(number)
                yield self.unpacker.unpack(header, frame[HEADER:], number)
            except (XetError, IndexError) as problem:
                raise OSError(f"the stored xorb {to_hex(self.index.hash)} is damaged at chunk {number}") from problem

    def close(self) -> None:
        """Close the file."""
        self.file.close()
