"""One chunk as it travels: an 8-byte header, then its bytes, raw or packed.

A header holds the version (0), the packed length (3 bytes, little-endian), the scheme and the raw length (3 bytes).
Scheme 0 is raw, 1 an LZ4 frame, 2 an LZ4 frame of the bytes in four groups by their place modulo 4, which packs floats
better. Both lengths are checked before a byte is unpacked. Source: https://huggingface.co/docs/xet/xorb.
"""

from dataclasses import dataclass

import lz4.frame
import numpy as np

from hub.xet.errors import XetError

HEADER = 8
RAW, LZ4, GROUPED_LZ4 = range(3)
MAX_RAW = 128 << 10
# What LZ4 makes of data that can't be packed is longer than the data by 1 byte in 255 and its frame's own fields.
MAX_PACKED = MAX_RAW + (1 << 10)


@dataclass(frozen=True)
class ChunkHeader:
    """What stands before a chunk: how its bytes are packed, their length as sent and their length unpacked."""

    scheme: int
    packed: int
    raw: int


def read_header(header: bytes, number: int) -> ChunkHeader:
    """Read the 8 bytes before chunk `number`; XetError `xet.chunk_header` or `xet.chunk_too_large`."""
    version, scheme = header[0], header[4]
    packed, raw = int.from_bytes(header[1:4], "little"), int.from_bytes(header[5:8], "little")
    if version != 0 or scheme > GROUPED_LZ4:
        raise XetError(
            "chunk_header",
            f"Chunk {number} has version {version} and scheme {scheme}; this hub reads version 0 with scheme 0 (raw), "
            "1 (LZ4) or 2 (grouped LZ4).",
            chunk=number,
        )
    if not 0 < raw <= MAX_RAW or not 0 < packed <= MAX_PACKED:
        raise XetError(
            "chunk_too_large",
            f"Chunk {number} says that it has {raw:,} bytes, {packed:,} as sent; a chunk has 1 to {MAX_RAW:,}, and at "
            f"most {MAX_PACKED:,} as sent.",
            chunk=number,
        )
    if scheme == RAW and packed != raw:
        raise _corrupt(number, f"it is raw, and has {packed:,} bytes where its header says {raw:,}")
    return ChunkHeader(scheme, packed, raw)


class Unpacker:
    """Unpacks chunks one after the other, with one LZ4 context for all; not for two threads at once."""

    def __init__(self) -> None:
        self._context = lz4.frame.create_decompression_context()

    def unpack(self, header: ChunkHeader, data: bytes | memoryview, number: int) -> bytes | memoryview:
        """The `header.raw` bytes of a chunk; XetError `xet.chunk_corrupt` where `data` doesn't give exactly these."""
        if header.scheme == RAW:
            return data
        try:
            # One byte more than there should be shows that there are too many, and no more than these is ever made.
            raw, used, whole = lz4.frame.decompress_chunk(self._context, data, max_length=header.raw + 1)
        except RuntimeError as problem:
            raise _corrupt(number, "its LZ4 frame can't be read") from problem
        if not whole or used != len(data) or len(raw) != header.raw:
            raise _corrupt(number, f"its LZ4 frame doesn't hold the {header.raw:,} bytes that its header says")
        return _ungrouped(raw) if header.scheme == GROUPED_LZ4 else raw


def _ungrouped(grouped: bytes) -> memoryview:
    """Bytes back in their order: group i of four holds those at i, i + 4, i + 8, …, the first groups one more."""
    groups, raw = np.frombuffer(grouped, np.uint8), np.empty(len(grouped), np.uint8)
    start = 0
    for place in range(4):
        places = raw[place::4]
        places[:] = groups[start : start + len(places)]
        start += len(places)
    return raw.data


def _corrupt(number: int, why: str) -> XetError:
    return XetError("chunk_corrupt", f"Chunk {number} can't be unpacked: {why}. Send the xorb again.", chunk=number)
