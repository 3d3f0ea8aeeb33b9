"""Shards as posted: the files and xorbs they list, and what is refused."""

import hashlib
import struct
import time

import pytest

from hub.xet import shards
from hub.xet.errors import XetError
from hub.xet.shards import MAX_BYTES, Shard, Term, read_shard
from tests.hub.xet.test_xorbs import peak_of
from tests.hub.xet.writing import END, TAG, File, Xorb, keyed, lookups_and_footer, shard, turned, u32

ONE = Xorb([b"one" * 50, b"two" * 50, b"three" * 50])
TWO = Xorb([b"four" * 50, b"five" * 50])
FILES = [File([(ONE, 0, 3)]), File([(TWO, 1, 2), (ONE, 0, 1), (ONE, 0, 1)]), File([])]
BODY = shard(FILES, [ONE, TWO])


def code(body: bytes) -> str:
    with pytest.raises(XetError) as refused:
        read_shard(body)
    return refused.value.code.removeprefix("xet.")


def without_memory(shard: Shard) -> list:
    files = [(file.hash, file.sha256, file.size, list(file.terms())) for file in shard.files]
    return [files, [(xorb.hash, xorb.count, xorb.length, list(xorb.chunks())) for xorb in shard.xorbs]]


def test_what_is_listed_is_read():
    found = read_shard(BODY)
    assert [file.size for file in found.files] == [550, 500, 0]
    assert [file.count for file in found.files] == [1, 3, 0]
    assert found.files[2].hash == bytes(32)
    assert list(found.files[0].terms()) == [
        Term(ONE.hash, 0, 3, 550, keyed("range", b"".join(digest for digest, _ in ONE.nodes)))
    ]
    assert [(term.xorb, term.start, term.end) for term in found.files[1].terms()] == [
        (TWO.hash, 1, 2),
        (ONE.hash, 0, 1),
        (ONE.hash, 0, 1),
    ]
    assert [(xorb.hash, xorb.count, xorb.length) for xorb in found.xorbs] == [(ONE.hash, 3, 550), (TWO.hash, 2, 400)]
    assert list(found.xorbs[0].chunks()) == ONE.nodes


def test_the_sha256_is_the_usual_one():
    assert [file.sha256 for file in read_shard(BODY).files] == [hashlib.sha256(f.data).hexdigest() for f in FILES]


def test_an_empty_file_without_sha256_has_that_of_nothing():
    for told in (bytes(32), hashlib.sha256().digest()):
        assert read_shard(shard([File([], sha256=told)], [])).files[0].sha256 == hashlib.sha256().hexdigest()
    assert read_shard(shard([File([(ONE, 0, 3)], sha256=bytes(32))], [])).files[0].sha256 == "0" * 64


def test_a_shard_needs_the_xorbs_it_takes_from_and_those_it_lists():
    assert read_shard(BODY).needs() == {ONE.hash, TWO.hash}
    assert read_shard(shard([FILES[0]], [])).needs() == {ONE.hash}
    assert read_shard(shard([], [TWO])).needs() == {TWO.hash}
    assert read_shard(shard([], [])).needs() == set()


def test_a_footer_is_welcome():
    assert without_memory(read_shard(shard(FILES, [ONE, TWO], with_footer=True))) == without_memory(read_shard(BODY))


def test_a_footer_that_points_elsewhere_is_refused():
    whole = shard(FILES, [ONE, TWO], with_footer=True)
    for at in [*range(-200, -128), *range(-128, -96), *range(-8, 0)]:
        changed = bytearray(whole)
        changed[at] ^= 1
        assert code(bytes(changed)) == "shard_footer", at
    listed = len(BODY) - len(b"".join(xorb.record() for xorb in (ONE, TWO))) - len(END) - 48
    keyed_one = lookups_and_footer(listed, len(BODY), FILES, [ONE, TWO], key=b"k" * 32)
    for tail in (whole[len(BODY) : -1], whole[len(BODY) :] + b"x", keyed_one):
        assert code(whole[: len(BODY)] + tail) == "shard_footer"
    assert code(BODY + b"x") == "shard_footer"
    assert code(BODY[:40] + struct.pack("<Q", 200) + BODY[48:]) == "shard_footer"
    assert code(BODY[:40] + struct.pack("<Q", 2**64 - 1) + BODY[48:]) == "shard_footer"


def test_reserved_bytes_may_hold_anything():
    assert (
        without_memory(read_shard(shard([File([(ONE, 0, 3)], spare=b"anything")], [ONE, TWO])))[0]
        == (without_memory(read_shard(shard([FILES[0]], [ONE, TWO])))[0])
    )


def test_a_shard_that_ends_early_is_refused():
    for end in range(len(BODY)):
        assert code(BODY[:end]) == "shard_cut", end


@pytest.mark.parametrize("at", [0, 14, 15, 31, 32, 39])
def test_another_tag_or_version_is_refused(at):
    changed = bytearray(BODY)
    changed[at] ^= 1
    assert code(bytes(changed)) == "shard_header"


@pytest.mark.parametrize("flags", [0, 1 << 30, 1 << 31, 3 << 30 | 1, 7 << 29])
def test_a_file_needs_its_verification_hashes_and_its_sha256(flags):
    assert code(shard([File([(ONE, 0, 3)], flags=flags)], [])) == "shard_record"


@pytest.mark.parametrize(
    "changed",
    [
        {"flags": 1},
        {"start": 3},
        {"start": 4},
        {"end": 0},
        {"end": 2**32 - 1},
        {"length": 2},
        {"length": 0},
    ],
)
def test_a_term_needs_a_chunk_and_a_byte_for_each(changed):
    assert code(shard([File([(ONE, 0, 3)], changed={0: changed})], [])) == "shard_record"


def test_a_list_ends_in_ones_and_zeros():
    ends = b"\xff" * 32 + b"\1" + bytes(15)
    head = TAG + struct.pack("<QQ", 2, 0)
    assert code(head + ends + END) == "shard_record"
    assert code(head + END + ends) == "shard_record"
    assert code(head + END) == "shard_cut"


@pytest.mark.parametrize(
    "record",
    [
        ONE.hash + u32(1, 3, 550, 0) + ONE.record()[48:],
        ONE.hash + u32(0, 3, 551, 0) + ONE.record()[48:],
        ONE.hash + u32(0, 3, 550, 0) + ONE.record()[48:80] + u32(1) + ONE.record()[84:],
    ],
)
def test_a_listed_xorb_must_add_up(record):
    assert code(TAG + struct.pack("<QQ", 2, 0) + END + record + END) == "shard_record"


@pytest.mark.parametrize("count", [1000, 1 << 20, 2**32 - 1])
def test_a_count_is_not_believed(count):
    head = TAG + struct.pack("<QQ", 2, 0)
    started = time.monotonic()
    for body in (head + bytes(32) + u32(3 << 30, count, 0, 0), head + END + bytes(32) + u32(0, count, 0, 0)):
        assert peak_of(lambda body=body: code(body + bytes(4800))) < 1_000_000
    assert time.monotonic() - started < 1


def test_a_shard_has_64_mib_at_most():
    assert code(bytes(MAX_BYTES + 1)) == "shard_too_large"


def test_a_shard_has_so_many_files_and_xorbs_at_most(monkeypatch):
    assert shards.MAX_FILES == shards.MAX_XORBS == 65536
    monkeypatch.setattr(shards, "MAX_FILES", 100)
    monkeypatch.setattr(shards, "MAX_XORBS", 50)
    empty, sent = File([]).record(), bytes(32) + u32(0, 0, 0, 0)
    head = TAG + struct.pack("<QQ", 2, 0)
    found = read_shard(head + empty * 100 + END + sent * 50 + END)
    assert (len(found.files), len(found.xorbs)) == (100, 50)
    assert code(head + empty * 101 + END + END) == "shard_too_large"
    assert code(head + END + sent * 51 + END) == "shard_too_large"


def test_a_full_shard_costs_its_own_bytes_and_seconds():
    """150,000 terms: read without an object for each."""
    term = ONE.hash + u32(0, 550, 0, 3)
    count = 150_000
    record = bytes(32) + u32(3 << 30, count, 0, 0) + term * count + bytes(48) * count + turned(bytes(32)) + bytes(16)
    body = TAG + struct.pack("<QQ", 2, 0) + record + END + END
    started = time.process_time()
    assert len(body) < MAX_BYTES
    peak = peak_of(lambda: read_shard(body).needs())
    assert peak < 2_000_000 and time.process_time() - started < 10
