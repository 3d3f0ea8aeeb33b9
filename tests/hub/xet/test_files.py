"""Files put together from stored xorbs: byte for byte what was claimed, or refused."""

import hashlib
import os
import random

import pytest

from hub.xet.errors import XetError
from hub.xet.files import OPEN_XORBS, rebuild
from hub.xet.shards import ShardFile, read_shard
from tests.hub.xet.keeping import Store
from tests.hub.xet.test_xorbs import peak_of
from tests.hub.xet.writing import LZ4, File, Xorb, shard

LENGTHS = (8192, 131072, 65537, 9001, 20000)
ONE, TWO = (Xorb([random.Random(f"{name} {at}").randbytes(n) for at, n in enumerate(LENGTHS)]) for name in "ab")
TAIL = Xorb([b"the end of a file, which may be short"])
WHOLE = [(ONE, 0, 5), (TWO, 2, 4), (ONE, 1, 2), (ONE, 1, 2), (TAIL, 0, 1)]


@pytest.fixture
def store() -> Store:
    return filled(ONE, TWO, TAIL)


def filled(*xorbs: Xorb) -> Store:
    store = Store()
    for xorb in xorbs:
        store.receive(xorb.body, xorb.hash)
    return store


def read(file: File) -> ShardFile:
    return read_shard(shard([file], [])).files[0]


@pytest.mark.parametrize(
    "terms", [[], [(TAIL, 0, 1)], [(ONE, 0, 5)], [(ONE, 2, 3)], WHOLE, [(TWO, 0, 5), (ONE, 0, 5)] * 3], ids=len
)
def test_a_file_is_put_together(store, terms):
    file = File(terms)
    assert store.rebuilt(read(file)) == file.data
    assert store.open_now == 0


def test_it_comes_in_blocks(store):
    assert max(len(block) for block in rebuild(read(File(WHOLE)), store.open, max_bytes=10**9)) <= 1 << 20


def wrong(store: Store, file: File, **most: int) -> str:
    """The code of the refusal, which must come before a byte is given."""
    with pytest.raises(XetError) as refused:
        rebuild(read(file), store.open, max_bytes=most.get("max_bytes", 10**9))
    assert store.open_now == 0
    return refused.value.code.removeprefix("xet.")


@pytest.mark.parametrize("number", range(len(WHOLE)))
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"xorb": b"?" * 32}, "xorb_unknown"),
        ({"end": 6}, "term_range"),
        ({"length": 400_000}, "term_length"),
        ({"verification": b"?" * 32}, "term_hash"),
    ],
)
def test_a_term_must_be_what_it_says(store, number, changed, expected):
    assert wrong(store, File(WHOLE, changed={number: changed})) == expected


def test_a_term_of_another_xorb_needs_that_ones_hashes(store):
    """Same number of chunks, same lengths: only the hashes tell them apart, and they are not given away."""
    assert wrong(store, File([(ONE, 0, 5)], changed={0: {"xorb": TWO.hash}})) == "term_hash"


def test_the_file_hash_must_be_that_of_all_chunks(store):
    assert wrong(store, File(WHOLE, hash=os.urandom(32))) == "file_hash"
    assert wrong(store, File(WHOLE, hash=read(File(WHOLE[::-1])).hash)) == "file_hash"
    assert wrong(store, File([], hash=os.urandom(32))) == "file_hash"


def test_a_file_has_the_bytes_that_are_allowed_at_most(store):
    size = len(File(WHOLE).data)
    assert store.rebuilt(read(File(WHOLE)), max_bytes=size)
    assert wrong(store, File(WHOLE), max_bytes=size - 1) == "file_too_large"


def test_a_file_of_crumbs_is_refused():
    """A byte a chunk would cost a thousand times the work that a byte of a true file does."""
    crumbs = Xorb([bytes([at % 256]) for at in range(3000)])
    assert wrong(filled(crumbs), File([(crumbs, 0, 3000)] * 4)) == "file_chunks"
    assert wrong(filled(TAIL), File([(TAIL, 0, 1)] * 2)) == "file_chunks"


@pytest.mark.parametrize("terms", [WHOLE, []], ids=len)
def test_the_sha256_must_be_that_of_the_bytes(store, terms):
    given = []
    with pytest.raises(XetError) as refused:
        given.extend(rebuild(read(File(terms, sha256=os.urandom(32))), store.open, max_bytes=10**9))
    assert refused.value.code == "xet.sha256"
    assert hashlib.sha256(File(terms).data).hexdigest() in refused.value.message
    assert b"".join(given) == File(terms).data and store.open_now == 0


def test_bytes_that_changed_in_the_store_are_noticed(store):
    index, raw = store.kept[ONE.hash]
    store.kept[ONE.hash] = index, raw[:-1] + bytes([raw[-1] ^ 1])
    with pytest.raises(XetError) as refused:
        store.rebuilt(read(File(WHOLE)))
    assert refused.value.code == "xet.sha256"


def test_a_reader_that_stops_leaves_nothing_open(store):
    blocks = rebuild(read(File(WHOLE)), store.open, max_bytes=10**9)
    next(blocks)
    assert store.open_now
    blocks.close()
    assert store.open_now == 0


def test_few_xorbs_are_open_at_once():
    xorbs = [Xorb([random.Random(at).randbytes(8192)]) for at in range(OPEN_XORBS + 8)]
    store = filled(*xorbs)
    file = File([(xorb, 0, 1) for xorb in xorbs] * 2)
    assert store.rebuilt(read(file)) == file.data
    assert store.most_open == OPEN_XORBS + 1 and store.open_now == 0


def test_memory_does_not_grow_with_the_file():
    zeros = Xorb([bytes(131072)] * 100, (LZ4,))
    store = filled(zeros)
    body = shard([File([(zeros, 0, 100)] * 20)], [])

    def drain() -> None:
        for _ in rebuild(read_shard(body).files[0], store.open, max_bytes=10**9):
            pass

    held = len(store.kept[zeros.hash][1])
    assert peak_of(drain) < held + 4_000_000
