"""Hashes of chunks, xorbs and files, beside the specification told step by step."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.xet import hashing
from hub.xet.errors import XetError
from tests.hub.xet import writing


def digests(seed: int, count: int) -> list[tuple[bytes, int]]:
    return [(hashlib.sha256(f"{seed} {at}".encode()).digest(), at * 7919 % 131072 + 1) for at in range(count)]


def test_a_hash_is_written_word_by_word():
    written = "07060504030201000f0e0d0c0b0a0908" + "17161514131211101f1e1d1c1b1a1918"
    assert hashing.to_hex(bytes(range(32))) == written
    assert hashing.from_hex(written) == bytes(range(32))


@given(st.binary(min_size=32, max_size=32))
def test_writing_and_reading_a_hash_are_each_others_way_back(digest):
    assert hashing.from_hex(hashing.to_hex(digest)) == digest
    assert bytes.fromhex(hashing.to_hex(digest)) == writing.turned(digest)


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n", "١" * 64, "x" * 10_000])
def test_anything_else_is_no_hash(text):
    with pytest.raises(XetError) as refused:
        hashing.from_hex(text)
    assert refused.value.code == "xet.hash_invalid" and len(refused.value.message) < 200


@pytest.mark.parametrize("count", [*range(40), 512, 1000])
def test_the_tree_is_the_one_of_the_specification(count):
    for seed in range(20 if count < 40 else 3):
        nodes = digests(seed, count)
        assert hashing.xorb_hash(nodes) == writing.root(nodes)


@settings(max_examples=200)
@given(st.lists(st.integers(0, 7), max_size=80))
def test_so_is_a_tree_of_few_distinct_nodes(kinds):
    """Runs of nodes that end a group at once, and runs that never do."""
    nodes = [(bytes(24) + bytes([kind]) + bytes(7), kind) for kind in kinds]
    assert hashing.xorb_hash(nodes) == writing.root(nodes)


def test_one_chunks_hash_is_its_xorbs_and_none_is_zeros():
    (digest, length), *_ = digests(0, 1)
    assert hashing.xorb_hash([(digest, length)]) == digest
    assert hashing.xorb_hash([]) == bytes(32) == hashing.file_hash(bytes(32))
    assert hashing.file_hash(digest) == writing.keyed("file", digest) != digest


def test_the_three_other_hashes_have_a_key_each():
    data = b"the same bytes" * 9
    assert hashing.chunk_hash(data) == writing.keyed("data", data)
    assert hashing.range_hash(data) == writing.keyed("range", data)
    assert len({hashing.chunk_hash(data), hashing.range_hash(data), writing.keyed("node", data)}) == 3
