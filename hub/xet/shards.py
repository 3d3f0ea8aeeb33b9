"""Shards: the files that an upload makes, each as terms over chunks of xorbs, and the xorbs that it sent for them.

A shard is a header and records, all of 48 bytes. A file is one record with its hash, one for each term, one for each
term's verification hash, one with its SHA-256; a xorb is one record with its hash and one for each chunk; a record of
ones ends either list. Records are read where they lie, none is kept as an object: a shard costs its own bytes.
Source: https://huggingface.co/docs/xet/shard.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from hub.xet.errors import XetError
from hub.xet.hashing import to_hex

MAX_BYTES = 64 << 20
MAX_FILES = MAX_XORBS = 1 << 16
RECORD = 48
TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
VERSION, FOOTER_VERSION = 2, 1
END = b"\xff" * 32 + bytes(16)
VERIFIED, WITH_SHA256 = 1 << 31, 1 << 30

# The stock client says zeros for an empty file that it reads from a path.
EMPTY_SHA256 = hashlib.sha256().hexdigest()

_HEADER = struct.Struct("<32sQQ")
_RECORD = struct.Struct("<32s4I")
_FOOTER = struct.Struct("<9Q32s2Q48s3QQ")
# Bytes of one entry in the three look-up tables that a shard with a footer has before it: files, xorbs, chunks.
_LOOKUPS = (12, 12, 16)


@dataclass(frozen=True)
class Term:
    """Chunks [start, end) of a xorb, `length` raw bytes in all; `verification` is the hash over their hashes."""

    xorb: bytes
    start: int
    end: int
    length: int
    verification: bytes


@dataclass(frozen=True)
class ShardFile:
    """A file that an upload makes: its Xet hash, its SHA-256 as 64 hex digits, and the records of its terms."""

    hash: bytes
    sha256: str
    count: int
    _terms: memoryview
    _verifications: memoryview

    def terms(self) -> Iterator[Term]:
        """Its terms in order; none for an empty file. Each has at least one chunk and one byte."""
        verifications = _RECORD.iter_unpack(self._verifications)
        for xorb, _, length, start, end in _RECORD.iter_unpack(self._terms):
            yield Term(xorb, start, end, length, next(verifications)[0])

    def places(self) -> Iterator[tuple[bytes, int, int]]:
        """(xorb, where it begins in the file, its bytes) of neighbouring terms that take a xorb's first chunks on."""
        at = begins = end = 0
        xorb = None
        for term in self.terms():
            if term.xorb != xorb or term.start != end:
                if xorb:
                    yield xorb, begins, at - begins
                xorb, begins = (term.xorb, at) if term.start == 0 else (None, at)
            at, end = at + term.length, term.end
        if xorb:
            yield xorb, begins, at - begins

    @property
    def size(self) -> int:
        """Its bytes, as its terms say."""
        return sum(length for _, _, length, _, _ in _RECORD.iter_unpack(self._terms))


@dataclass(frozen=True)
class ShardXorb:
    """A xorb that an upload sent, as its sender lists it: `count` chunks, `length` raw bytes."""

    hash: bytes
    count: int
    length: int
    _chunks: memoryview

    def chunks(self) -> Iterator[tuple[bytes, int]]:
        """(hash, length) of each chunk."""
        for digest, _, length, _, _ in _RECORD.iter_unpack(self._chunks):
            yield digest, length


@dataclass(frozen=True)
class Shard:
    """What one upload makes and what it sent. Nothing of it is proven yet: see `files`."""

    files: tuple[ShardFile, ...]
    xorbs: tuple[ShardXorb, ...]

    def needs(self) -> set[bytes]:
        """The hashes of all xorbs that its files take chunks from, or that it lists."""
        taken = {record[0] for file in self.files for record in _RECORD.iter_unpack(file._terms)}
        return taken | {xorb.hash for xorb in self.xorbs}


def read_shard(body: bytes) -> Shard:
    """Read a shard as posted, with a footer or without; XetError `xet.shard_…` for anything else.

    Every file must have its verification hashes and its SHA-256. Reserved bytes may hold anything, flags may not.
    """
    if len(body) > MAX_BYTES:
        raise XetError("shard_too_large", f"The shard has {len(body):,} bytes; send at most {MAX_BYTES:,} at a time.")
    return _Reader(memoryview(body)).read()


class _Reader:
    def __init__(self, body: memoryview) -> None:
        self.body = body
        self.at = 0

    def read(self) -> Shard:
        tag, version, footer_size = _HEADER.unpack(self._take(1))
        if tag != TAG or version != VERSION:
            raise XetError("shard_header", f"This is no shard of version {VERSION}, which is what this hub reads.")
        files = tuple(self._files())
        xorbs_at = self.at
        xorbs = tuple(self._xorbs())
        self._footer(footer_size, xorbs_at)
        return Shard(files, xorbs)

    def _files(self) -> Iterator[ShardFile]:
        for number, (digest, flags, count, _, _) in self._heads("files", MAX_FILES):
            if flags != VERIFIED | WITH_SHA256:
                raise XetError(
                    "shard_record",
                    f"File {number} of the shard has the flags {flags:#x}; it needs {VERIFIED | WITH_SHA256:#x}: "
                    "verification hashes and a SHA-256, and nothing else.",
                    file=to_hex(digest),
                )
            terms, verifications = self._take(count), self._take(count)
            sha256 = to_hex(self._take(1)[:32])
            if not count and sha256 == "0" * 64:
                sha256 = EMPTY_SHA256
            for term, (_, flags, length, start, end) in enumerate(_RECORD.iter_unpack(terms)):
                if flags or not start < end or length < end - start:
                    raise XetError(
                        "shard_record",
                        f"Term {term} of file {number} has the flags {flags:#x}, chunks [{start}, {end}) and "
                        f"{length:,} bytes; it needs no flags, a chunk or more, and a byte or more for each.",
                        file=to_hex(digest),
                    )
            yield ShardFile(digest, sha256, count, terms, verifications)

    def _xorbs(self) -> Iterator[ShardXorb]:
        for number, (digest, flags, count, length, _) in self._heads("xorbs", MAX_XORBS):
            chunks = self._take(count)
            listed = 0
            for _, start, size, _, _ in _RECORD.iter_unpack(chunks):
                if start != listed:
                    break
                listed += size
            if flags or listed != length:
                raise XetError(
                    "shard_record",
                    f"Xorb {number} of the shard has the flags {flags:#x} and {length:,} bytes; it needs no flags, and "
                    "chunks that follow one another and have as many bytes in all.",
                    xorb=to_hex(digest),
                )
            yield ShardXorb(digest, count, length, chunks)

    def _heads(self, what: str, most: int) -> Iterator[tuple[int, tuple]]:
        """(number, fields) of each record that begins a file or a xorb, up to the one that ends the list."""
        number = 0
        while (head := self._take(1)) != END:
            if head[:32] == END[:32]:
                raise XetError("shard_record", f"The record that ends the {what} of the shard must end in zeros.")
            if number == most:
                raise XetError("shard_too_large", f"The shard has more than {most:,} {what}. Send fewer at a time.")
            yield number, _RECORD.unpack(head)
            number += 1

    def _footer(self, size: int, xorbs_at: int) -> None:
        left = len(self.body) - self.at
        if size == left == 0:
            return
        if size == _FOOTER.size <= left:
            fields = _FOOTER.unpack(self.body[-size:])
            version, files_at, xorbs_from, *lookups = fields[:9]
            key, footer_at = fields[9], fields[-1]
            at, follows = self.at, True
            for (offset, count), entry in zip(zip(lookups[::2], lookups[1::2], strict=True), _LOOKUPS, strict=True):
                follows &= offset == at
                at += count * entry
            places = (files_at, xorbs_from, footer_at, len(self.body) - size)
            if version == FOOTER_VERSION and not any(key) and follows and places == (RECORD, xorbs_at, at, at):
                return
        raise XetError(
            "shard_footer",
            f"The shard says that its footer has {size:,} bytes, and has {left:,} behind its lists that don't fit its "
            "records. Leave the footer out.",
        )

    def _take(self, count: int) -> memoryview:
        """The next `count` records."""
        end = self.at + count * RECORD
        if end > len(self.body):
            raise XetError(
                "shard_cut", f"The shard ends at byte {len(self.body):,}, and its records go on to {end:,} at least."
            )
        taken = self.body[self.at : end]
        self.at = end
        return taken
