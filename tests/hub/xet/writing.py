"""Xorbs and shards as a client would send them, written from the specification alone, with none of the hub's code."""

import hashlib
import struct
from dataclasses import dataclass, field

import lz4.frame
from blake3 import blake3

KEYS = {
    "data": "6697f5775b9550de3135cbaca597181c9de421109beb2b58b4d0b04b93adf229",
    "node": "017ec5c7a5472996fd946666b48a02e65ddd536f37c76dd2f86352e64a53713f",
    "range": "7f1857d6ce56ed66127ff913e7a5c3f3a4cd26d5b5db49e64124987f28fb94c3",
    "file": "00" * 32,
}
TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
END = b"\xff" * 32 + bytes(16)
RAW, LZ4, GROUPED = range(3)


def keyed(key: str, data: bytes) -> bytes:
    return blake3(data, key=bytes.fromhex(KEYS[key])).digest()


def turned(digest: bytes) -> bytes:
    """Every eight bytes the other way round: between a hash's bytes and what its hex digits say."""
    return b"".join(digest[at : at + 8][::-1] for at in range(0, 32, 8))


def root(nodes: list[tuple[bytes, int]]) -> bytes:
    """The tree over (hash, length), level by level as the specification tells it."""
    if not nodes:
        return bytes(32)
    while len(nodes) > 1:
        above = []
        while nodes:
            cut = min(9, len(nodes))
            for place in range(2, cut):
                if int.from_bytes(nodes[place][0][24:], "little") % 4 == 0:
                    cut = place + 1
                    break
            lines = "".join(f"{turned(digest).hex()} : {length}\n" for digest, length in nodes[:cut])
            above.append((keyed("node", lines.encode()), sum(length for _, length in nodes[:cut])))
            nodes = nodes[cut:]
        nodes = above
    return nodes[0][0]


def grouped(data: bytes) -> bytes:
    return b"".join(data[place::4] for place in range(4))


def frame(data: bytes, scheme: int) -> bytes:
    packed = data if scheme == RAW else lz4.frame.compress(grouped(data) if scheme == GROUPED else data)
    return header(len(packed), scheme, len(data)) + packed


def header(packed: int, scheme: int, raw: int, version: int = 0) -> bytes:
    return bytes([version]) + packed.to_bytes(3, "little") + bytes([scheme]) + raw.to_bytes(3, "little")


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


@dataclass
class Xorb:
    """A xorb over chunks of data, packed by turns with the schemes given."""

    chunks: list[bytes]
    schemes: tuple[int, ...] = (RAW, LZ4, GROUPED)

    def __post_init__(self) -> None:
        self.frames = [frame(data, self.schemes[at % len(self.schemes)]) for at, data in enumerate(self.chunks)]
        self.body = b"".join(self.frames)
        self.nodes = [(keyed("data", data), len(data)) for data in self.chunks]
        self.hash = root(self.nodes)

    def footer(self, nonce: bytes = bytes(16)) -> bytes:
        count, at, ends, frame_ends = u32(len(self.chunks)), [0, 0], [], []
        for data, packed in zip(self.chunks, self.frames, strict=True):
            at = [at[0] + len(data), at[1] + len(packed)]
            ends.append(at[0])
            frame_ends.append(at[1])
        hashes = b"XBLBHSH\0" + count + b"".join(digest for digest, _ in self.nodes)
        bounds = b"XBLBBND\1" + count + u32(*frame_ends) + u32(*ends)
        closing = len(count) + 4 + 4 + len(nonce)
        whole = b"XETBLOB\1" + self.hash + hashes + bounds + count
        whole += u32(len(hashes) + len(bounds) + closing, len(bounds) + closing) + nonce
        return whole + u32(len(whole))

    def record(self) -> bytes:
        """Its part of a shard."""
        out, at = self.hash + u32(0, len(self.chunks), sum(map(len, self.chunks)), 0), 0
        for digest, length in self.nodes:
            out += digest + u32(at, length, 1 << 31 if at == 0 else 0, 0)
            at += length
        return out


@dataclass
class File:
    """A file made of (xorb, start, end); every field of its records can be told another value."""

    terms: list[tuple[Xorb, int, int]]
    hash: bytes | None = None
    sha256: bytes | None = None
    flags: int = 3 << 30
    spare: bytes = bytes(8)
    changed: dict[int, dict[str, object]] = field(default_factory=dict)

    @property
    def data(self) -> bytes:
        return b"".join(data for xorb, start, end in self.terms for data in xorb.chunks[start:end])

    def record(self) -> bytes:
        nodes = [node for xorb, start, end in self.terms for node in xorb.nodes[start:end]]
        digest = self.hash or (keyed("file", root(nodes)) if nodes else bytes(32))
        sha256 = self.sha256 or hashlib.sha256(self.data).digest()
        return (
            digest
            + u32(self.flags, len(self.terms))
            + self.spare
            + b"".join(map(self._term, range(len(self.terms))))
            + b"".join(map(self._verification, range(len(self.terms))))
            + (turned(sha256) + bytes(16))
        )

    def _term(self, number: int) -> bytes:
        xorb, start, end = self.terms[number]
        told = {
            "xorb": xorb.hash,
            "flags": 0,
            "length": sum(map(len, xorb.chunks[start:end])),
            "start": start,
            "end": end,
        }
        told |= {name: value for name, value in self.changed.get(number, {}).items() if name in told}
        return told["xorb"] + u32(told["flags"], told["length"], told["start"], told["end"])

    def _verification(self, number: int) -> bytes:
        xorb, start, end = self.terms[number]
        right = keyed("range", b"".join(digest for digest, _ in xorb.nodes[start:end]))
        return self.changed.get(number, {}).get("verification", right) + bytes(16)


def shard(files: list[File], xorbs: list[Xorb], *, with_footer: bool = False, version: int = 2) -> bytes:
    listed = b"".join(file.record() for file in files) + END
    sent = b"".join(xorb.record() for xorb in xorbs) + END
    body = TAG + struct.pack("<QQ", version, 200 if with_footer else 0) + listed + sent
    return body + lookups_and_footer(len(listed), len(body), files, xorbs) if with_footer else body


def lookups_and_footer(listed: int, at: int, files: list[File], xorbs: list[Xorb], key: bytes = bytes(32)) -> bytes:
    counts = (len(files), len(xorbs), sum(len(xorb.chunks) for xorb in xorbs))
    sizes = [count * entry for count, entry in zip(counts, (12, 12, 16), strict=True)]
    offsets = [at, at + sizes[0], at + sizes[0] + sizes[1]]
    places = [value for pair in zip(offsets, counts, strict=True) for value in pair]
    fields = struct.pack("<9Q", 1, 48, 48 + listed, *places) + key + struct.pack("<2Q", 7, 2**64 - 1) + bytes(72)
    return bytes(sum(sizes)) + fields + struct.pack("<Q", at + sum(sizes))
