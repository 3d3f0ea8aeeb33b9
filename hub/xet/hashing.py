"""The four hashes of Xet, all BLAKE3 of 32 bytes: of a chunk, of a xorb, of a file, and of the chunks a term takes.

Xorbs and files are hashed over their chunks' hashes and lengths alone, as a tree whose groups are cut where the hashes
say so: the same chunks give the same hash, wherever they lie. Source: https://huggingface.co/docs/xet/hashing.
"""

import re
import struct
from collections.abc import Iterable

from blake3 import blake3

from hub.xet.errors import XetError

SIZE = 32
DATA_KEY = bytes.fromhex("6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229")
NODE_KEY = bytes.fromhex("017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f")
RANGE_KEY = bytes.fromhex("7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3")
FILE_KEY = EMPTY = bytes(SIZE)
# A group of the tree ends at its third node or later where the node's hash says so, and at its ninth at the latest.
FEWEST, MOST, MEAN = 3, 9, 4

_WORDS = struct.Struct("<4Q")
_WRITTEN = "{:016x}" * 4
_HEX = re.compile(r"[0-9a-f]{64}")


def to_hex(digest: bytes) -> str:
    """The written form of a 32-byte hash: four little-endian 64-bit words, each as 16 hex digits."""
    return _WRITTEN.format(*_WORDS.unpack(digest))


def from_hex(text: str) -> bytes:
    """The 32 bytes of a written hash; XetError `xet.hash_invalid` where it is not 64 lower-case hex digits."""
    if not _HEX.fullmatch(text):
        shown = text if len(text) <= 80 else f"{text[:80]}…"
        raise XetError("hash_invalid", f"{shown!r} is no Xet hash: use 64 lower-case hex digits.")
    return _WORDS.pack(*(int(text[at : at + 16], 16) for at in range(0, 64, 16)))


def chunk_hash(data: bytes | memoryview) -> bytes:
    """The hash of a chunk's bytes."""
    return blake3(data, key=DATA_KEY).digest()


def range_hash(chunk_hashes: bytes | memoryview) -> bytes:
    """The verification hash of a term; `chunk_hashes` are those of its chunks one after the other, [n * 32] bytes."""
    return blake3(chunk_hashes, key=RANGE_KEY).digest()


def xorb_hash(chunks: Iterable[tuple[bytes, int]]) -> bytes:
    """The hash of a xorb from the (hash, length) of its chunks."""
    tree = Tree()
    for digest, length in chunks:
        tree.add(digest, length)
    return tree.root()


def file_hash(root: bytes) -> bytes:
    """The hash of a file from the root of the tree over its chunks; an empty file's is all zeros."""
    return root if root == EMPTY else blake3(root, key=FILE_KEY).digest()


class Tree:
    """The tree over (hash, length) of chunks, built as they come: it holds fewer than nine nodes a level."""

    def __init__(self) -> None:
        self._levels: list[_Level] = []

    def add(self, digest: bytes, length: int) -> None:
        """Take the next chunk."""
        self._put(0, digest, length)

    def root(self) -> bytes:
        """The hash over all; zeros without chunks, and one chunk's own hash. Nothing can be added after it."""
        depth = 0
        while depth < len(self._levels):
            level = self._levels[depth]
            if level.seen == 1:
                return level.last
            if level.waiting:
                self._close(depth)
            depth += 1
        return EMPTY

    def _put(self, depth: int, digest: bytes, length: int) -> None:
        if depth == len(self._levels):
            self._levels.append(_Level())
        level = self._levels[depth]
        level.waiting.append(f"{to_hex(digest)} : {length}\n")
        level.length += length
        level.seen += 1
        level.last = digest
        count = len(level.waiting)
        if count == MOST or (count >= FEWEST and digest[24] % MEAN == 0):
            self._close(depth)

    def _close(self, depth: int) -> None:
        level = self._levels[depth]
        node, length = blake3("".join(level.waiting).encode(), key=NODE_KEY).digest(), level.length
        level.waiting.clear()
        level.length = 0
        self._put(depth + 1, node, length)


class _Level:
    """Nodes of one depth: the lines of those whose group is not full yet, and how many there were in all."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.length = 0
        self.seen = 0
        self.last = EMPTY
