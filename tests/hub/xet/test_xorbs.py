"""Xorbs as posted: what is right gives its chunks, what is not is refused before it costs anything."""

import io
import os
import random
import time
import tracemalloc

import lz4.frame
import pytest

from hub.xet import xorbs
from hub.xet.errors import XetError
from hub.xet.xorbs import RawXorb, XorbIndex, receive_xorb
from tests.hub.xet.writing import GROUPED, LZ4, RAW, Xorb, frame, header, keyed, root, u32

LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 1000, 65535, 65536, 65537, 131071, 131072)


def some(length: int, seed: int = 0) -> bytes:
    """Bytes that pack to about half."""
    source = random.Random(f"{length} {seed}")
    return b"".join(bytes([source.randrange(256)]) * 2 for _ in range(length // 2 + 1))[:length]


@pytest.fixture(scope="module")
def xorb() -> Xorb:
    return Xorb([some(length) for length in LENGTHS] + [os.urandom(50_001)])


def receive(body: bytes, claimed: bytes) -> tuple[XorbIndex, bytes]:
    raw = io.BytesIO()
    return receive_xorb(io.BytesIO(body), claimed, raw.write), raw.getvalue()


def code(body: bytes, claimed: bytes) -> str:
    with pytest.raises(XetError) as refused:
        receive(body, claimed)
    return refused.value.code.removeprefix("xet.")


@pytest.mark.parametrize("schemes", [(RAW,), (LZ4,), (GROUPED,), (RAW, LZ4, GROUPED)])
def test_every_scheme_and_length_gives_its_chunks(schemes):
    sent = Xorb([some(length) for length in LENGTHS], schemes)
    index, raw = receive(sent.body, sent.hash)
    assert raw == b"".join(sent.chunks)
    assert index.hash == sent.hash and len(index) == len(LENGTHS)
    assert list(index.chunks()) == sent.nodes
    assert list(index.chunks(3, 7)) == sent.nodes[3:7]
    assert index.raw_range(0, 2) == (0, 3) and index.raw_range(2, 4) == (3, 10)


def test_an_index_is_kept_as_bytes(xorb):
    index, _ = receive(xorb.body, xorb.hash)
    assert XorbIndex.from_bytes(index.to_bytes()) == index
    assert len(index.to_bytes()) == 32 + 36 * len(index)
    for wrong in (b"", index.to_bytes()[:-1], index.hash):
        with pytest.raises(ValueError, match="no index"):
            XorbIndex.from_bytes(wrong)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (4, 9), (14, 15), (0, 15)])
def test_a_range_is_read_without_the_rest(xorb, start, end):
    index, raw = receive(xorb.body, xorb.hash)
    begins, ends = index.raw_range(start, end)
    # What lies outside of the range is not what it was: it must not matter.
    file = io.BytesIO(bytes(begins) + raw[begins:ends] + bytes(len(raw) - ends))
    assert b"".join(RawXorb(index, file).read(start, end)) == b"".join(xorb.chunks[start:end])


def test_a_stored_xorb_that_lost_bytes_is_no_fault_of_the_sender(xorb):
    index, raw = receive(xorb.body, xorb.hash)
    with pytest.raises(OSError, match="ends at"):
        list(RawXorb(index, io.BytesIO(raw[:-1])).read(0, len(index)))


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_a_body_may_come_in_pieces(xorb, piece):
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, piece))

    small = Xorb(xorb.chunks[:10])
    raw = io.BytesIO()
    receive_xorb(Slow(small.body + small.footer()), small.hash, raw.write)
    assert raw.getvalue() == b"".join(small.chunks)


def test_a_footer_is_welcome_and_its_nonce_means_nothing(xorb):
    without = receive(xorb.body, xorb.hash)
    assert receive(xorb.body + xorb.footer(), xorb.hash) == without
    assert receive(xorb.body + xorb.footer(nonce=os.urandom(16)), xorb.hash) == without


def test_a_footer_that_says_something_else_is_refused():
    sent = Xorb([b"one", b"two", b"three"])
    footer = sent.footer()
    nonce = range(len(footer) - 20, len(footer) - 4)
    for at in set(range(7, len(footer))) - set(nonce):
        changed = bytearray(footer)
        changed[at] ^= 1
        assert code(sent.body + changed, sent.hash) == "xorb_footer"
    for changed in (footer[:-1], footer + b"x", footer[:20], sent.footer() * 2):
        assert code(sent.body + changed, sent.hash) == "xorb_footer"


def test_the_hash_must_be_that_of_the_chunks(xorb):
    assert code(xorb.body, os.urandom(32)) == "xorb_hash"
    assert code(Xorb(xorb.chunks[::-1]).body, xorb.hash) == "xorb_hash"


def test_a_body_that_ends_early_is_refused():
    sent = Xorb([b"one" * 100, b"two" * 100, b"three"])
    whole = {len(b"".join(sent.frames[:count])) for count in range(4)}
    for end in range(len(sent.body)):
        expected = "xorb_empty" if end == 0 else "xorb_hash" if end in whole else "xorb_cut"
        assert code(sent.body[:end], sent.hash) == expected, end


GARBAGE = b"no frame of LZ4 at all"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "xorb_empty"),
        (header(5, 0, 5, version=1) + b"bytes", "chunk_header"),
        (header(5, 3, 5) + b"bytes", "chunk_header"),
        (header(5, 99, 5) + b"bytes", "chunk_header"),
        (header(0, 0, 0), "chunk_too_large"),
        (header(19, 1, 0) + lz4.frame.compress(b""), "chunk_too_large"),
        (header(131073, 0, 131073) + bytes(131073), "chunk_too_large"),
        (header(133000, 1, 131072) + bytes(133000), "chunk_too_large"),
        (header(0xFFFFFF, 1, 0xFFFFFF), "chunk_too_large"),
        (header(5, 0, 6) + b"bytes", "chunk_corrupt"),
        (header(len(GARBAGE), 1, 100) + GARBAGE, "chunk_corrupt"),
        (header(len(GARBAGE), 2, 100) + GARBAGE, "chunk_corrupt"),
    ],
)
def test_a_chunk_that_is_none_is_refused(body, expected):
    assert code(body, bytes(32)) == expected


@pytest.mark.parametrize("scheme", [LZ4, GROUPED])
def test_a_frame_must_hold_just_what_its_header_says(scheme):
    packed = lz4.frame.compress(b"twelve bytes" * 10)
    assert receive(header(len(packed), LZ4, 120) + packed, keyed("data", b"twelve bytes" * 10))[0].ends[0] == 120
    for body in (
        header(len(packed), scheme, 119) + packed,
        header(len(packed), scheme, 121) + packed,
        header(len(packed) - 1, scheme, 120) + packed[:-1],
        header(len(packed) + 1, scheme, 120) + packed + b"x",
        header(len(packed) * 2, scheme, 120) + packed * 2,
        header(len(packed) * 2, scheme, 240) + packed * 2,
    ):
        assert code(body, bytes(32)) == "chunk_corrupt"


def peak_of(call) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_not_unpacked():
    """25 MB of zeros in a frame of 100 KB, whose own header says 25 MB as well; a chunk's header says 128 KiB."""
    bomb = lz4.frame.compress(bytes(25_000_000), content_checksum=False, block_size=lz4.frame.BLOCKSIZE_MAX4MB)
    body = header(len(bomb), LZ4, 131072) + bomb
    assert 90_000 < len(bomb) < 132_000
    assert peak_of(lambda: code(body, bytes(32))) < 2_000_000


def test_a_xorb_has_8192_chunks_at_most(monkeypatch):
    most = Xorb([bytes([at % 256, at // 256]) for at in range(8192)], (RAW,))
    assert len(receive(most.body, most.hash)[0]) == 8192
    assert code(most.body + frame(b"xy", RAW), most.hash) == "xorb_too_large"


def test_a_xorb_unpacks_to_72_mib_at_most():
    chunk = bytes(131072)
    packed = frame(chunk, LZ4)
    node = (keyed("data", chunk), len(chunk))
    assert receive_xorb(io.BytesIO(packed * 576), root([node] * 576), lambda raw: None).ends[-1] == xorbs.MAX_RAW
    assert code(packed * 577, bytes(32)) == "xorb_too_large"


def test_a_body_is_not_read_beyond_72_mib():
    """Chunks that LZ4 makes longer: the body reaches the bound before what is in it does."""
    chunk = os.urandom(131072)
    packed = lz4.frame.compress(chunk, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_checksum=True)
    sent = (header(len(packed), LZ4, len(chunk)) + packed) * 700

    class Counting(io.BytesIO):
        def read(self, size=-1):
            data = super().read(size)
            self.given = getattr(self, "given", 0) + len(data)
            return data

    body = Counting(sent)
    with pytest.raises(XetError) as refused:
        receive_xorb(body, bytes(32), lambda raw: None)
    assert refused.value.code == "xet.xorb_too_large" and body.given <= xorbs.MAX_BODY


def test_memory_does_not_grow_with_the_body():
    chunk = os.urandom(131072)
    body = io.BytesIO(frame(chunk, RAW) * 500)
    hashed = root([(keyed("data", chunk), len(chunk))] * 500)
    assert peak_of(lambda: receive_xorb(body, hashed, lambda raw: None)) < 2_000_000


def test_a_footer_without_end_is_not_read_to_its_end():
    sent = Xorb([b"x"])

    class Endless(io.BytesIO):
        def read(self, size=-1):
            return super().read(size) or b"\0" * size

    started = time.monotonic()
    with pytest.raises(XetError) as refused:
        receive_xorb(Endless(sent.body + b"XETBLOB\1" + u32(1)), sent.hash, lambda raw: None)
    assert refused.value.code == "xet.xorb_footer" and time.monotonic() - started < 5
