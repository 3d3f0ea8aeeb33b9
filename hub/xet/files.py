"""From terms to bytes: a file put together from stored xorbs, and proof that it is the one that was claimed.

First the facts alone: every term's chunks are there and have the length and the verification hash it says, and all
chunks together have the file's hash. Indexes of xorbs tell that, and no byte of data is read. Then the bytes, block by
block, whose SHA-256 must be the one that the commit will name. Source: https://huggingface.co/docs/xet/file-id.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing

from hub.xet.errors import XetError
from hub.xet.hashing import SIZE, Tree, file_hash, range_hash, to_hex
from hub.xet.shards import ShardFile, Term
from hub.xet.xorbs import StoredXorb, XorbIndex

# Clients cut no chunk shorter than this but a file's last: it bounds the work that a byte of a file can ask for.
SHORTEST_CHUNK = 8 << 10
OPEN_XORBS = 32

OpenXorb = Callable[[bytes], StoredXorb | None]
"""The stored xorb of a hash, None where the sender may use none of that hash. It is closed when it is done with."""


def rebuild(file: ShardFile, open_xorb: OpenXorb, *, max_bytes: int) -> Iterator[bytes | memoryview]:
    """Check a file's terms at once, then give its bytes in blocks of at most 1 MiB.

    XetError before the first byte for terms that don't make the file, and after the last one where the SHA-256 is
    another: only a loop that ends without an error has the file. `max_bytes` is the most that it may have.
    """
    size = file.size
    if size > max_bytes:
        raise XetError(
            "file_too_large",
            f"The file has {size:,} bytes; at most {max_bytes:,} can be stored.",
            file=to_hex(file.hash),
        )
    with closing(_OpenXorbs(open_xorb)) as xorbs:
        _check(file, size, xorbs)
    return _bytes(file, open_xorb)


def _check(file: ShardFile, size: int, xorbs: "_OpenXorbs") -> None:
    most = size // SHORTEST_CHUNK + 1
    if sum(term.end - term.start for term in file.terms()) > most:
        raise XetError(
            "file_chunks",
            f"The file has {size:,} bytes in more than {most:,} chunks. All but its last must have "
            f"{SHORTEST_CHUNK:,} bytes or more.",
            file=to_hex(file.hash),
        )
    tree = Tree()
    for number, term in enumerate(file.terms()):
        index = xorbs.of(term, number).index
        _check_term(term, number, index)
        for digest, length in index.chunks(term.start, term.end):
            tree.add(digest, length)
    found = file_hash(tree.root())
    if found != file.hash:
        raise XetError(
            "file_hash",
            f"The file was announced as {to_hex(file.hash)}, and its chunks make {to_hex(found)}. Upload it again.",
            file=to_hex(file.hash),
        )


def _check_term(term: Term, number: int, index: XorbIndex) -> None:
    facts = {"term": number, "xorb": to_hex(term.xorb)}
    if term.end > len(index):
        raise XetError(
            "term_range",
            f"Term {number} takes chunks [{term.start}, {term.end}) of a xorb that has {len(index)}.",
            **facts,
        )
    begins, ends = index.raw_range(term.start, term.end)
    if ends - begins != term.length:
        raise XetError(
            "term_length",
            f"Term {number} says {term.length:,} bytes, and its chunks have {ends - begins:,}.",
            **facts,
        )
    if range_hash(index.hashes[term.start * SIZE : term.end * SIZE]) != term.verification:
        raise XetError(
            "term_hash",
            f"The verification hash of term {number} is not that of its chunks. Upload the file again.",
            **facts,
        )


def _bytes(file: ShardFile, open_xorb: OpenXorb) -> Iterator[bytes | memoryview]:
    sha256 = hashlib.sha256()
    with closing(_OpenXorbs(open_xorb)) as xorbs:
        for number, term in enumerate(file.terms()):
            for block in xorbs.of(term, number).read(term.start, term.end):
                sha256.update(block)
                yield block
    if sha256.hexdigest() != file.sha256:
        raise XetError(
            "sha256",
            f"The file was announced with the SHA-256 {file.sha256}, and its bytes have {sha256.hexdigest()}. "
            "Upload it again.",
            file=to_hex(file.hash),
        )


class _OpenXorbs:
    """The xorbs of a file while they are needed: the last few that were asked for stay open."""

    def __init__(self, open_xorb: OpenXorb) -> None:
        self._open, self._kept = open_xorb, OrderedDict[bytes, StoredXorb]()

    def of(self, term: Term, number: int) -> StoredXorb:
        if term.xorb in self._kept:
            self._kept.move_to_end(term.xorb)
            return self._kept[term.xorb]
        xorb = self._open(term.xorb)
        if xorb is None:
            raise XetError(
                "xorb_unknown",
                f"Term {number} takes chunks of the xorb {to_hex(term.xorb)}, which this repository doesn't have. "
                "Upload the file again.",
                term=number,
                xorb=to_hex(term.xorb),
            )
        self._kept[term.xorb] = xorb
        if len(self._kept) > OPEN_XORBS:
            self._kept.popitem(last=False)[1].close()
        return xorb

    def close(self) -> None:
        while self._kept:
            self._kept.popitem()[1].close()
