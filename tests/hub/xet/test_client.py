"""What the stock client posts, byte for byte: its xorbs and shards are read, and its files come out again."""

import hashlib

import numpy as np
import pytest

from hub.xet import hashing
from hub.xet.shards import read_shard
from tests.hub.xet.keeping import Store
from tests.hub.xet.recording import Recorded, upload

RANDOM = np.random.default_rng(17)


def float32(count: int) -> bytes:
    return RANDOM.normal(size=count).astype("<f4").tobytes()


def bfloat16(count: int) -> bytes:
    return (np.frombuffer(float32(count), "<u4") >> 16).astype("<u2").tobytes()


def text(count: int) -> bytes:
    return b"".join(b"%d is a number\n" % value for value in RANDOM.integers(0, 2**31, count))


SHARED = RANDOM.bytes(700_000)
SMALL = {
    "empty": b"",
    "a byte": b"x",
    "64 KiB less one": RANDOM.bytes(65535),
    "64 KiB": RANDOM.bytes(65536),
    "64 KiB and one": RANDOM.bytes(65537),
    "float32": float32(250_001),
    "bfloat16": bfloat16(500_001),
    "zeros": bytes(1_000_000),
    "text": text(30_000),
    "twice the same": RANDOM.bytes(300_000) * 2,
    "shared": SHARED,
    "shares": b"another beginning" + SHARED[100_000:] + b"another end",
}


def check(files: list[bytes], recorded: Recorded, hashes: list[str]) -> None:
    """Every file is listed once under its hash and SHA-256, and is put together from what was posted."""
    store = Store()
    for written, body in recorded.xorbs.items():
        assert hashing.to_hex(store.receive(body, hashing.from_hex(written)).hash) == written
    found = {}
    for body in recorded.shards:
        shard = read_shard(body)
        assert shard.needs() <= store.kept.keys()
        for xorb in shard.xorbs:
            assert list(xorb.chunks()) == list(store.open(xorb.hash).index.chunks())
        for file in shard.files:
            found[hashing.to_hex(file.hash)] = file
    assert found.keys() == set(hashes)
    for data, written in zip(files, hashes, strict=True):
        assert found[written].sha256 == hashlib.sha256(data).hexdigest()
        assert store.rebuilt(found[written]) == data


def test_small_files_of_every_sort(tmp_path):
    files = list(SMALL.values())
    check(files, *upload([files], tmp_path))


def test_a_later_upload_takes_from_an_earlier_one(tmp_path):
    first, second = SMALL["shared"], b"new" + SMALL["shared"] + SMALL["text"]
    recorded, hashes = upload([[first], [second]], tmp_path)
    check([first, second], recorded, hashes)
    sent = sum(map(len, recorded.xorbs.values()))
    assert len(recorded.shards) == 2 and sent < len(first) + len(second) - 400_000


@pytest.mark.slow
def test_large_files_of_every_sort(tmp_path):
    lines = text(2_000_000)
    files = [
        float32(50_000_000),
        bfloat16(35_000_000),
        bytes(100_000_000),
        lines,
        lines + RANDOM.bytes(20_000_000) + lines,
    ]
    recorded, hashes = upload([files], tmp_path)
    check(files, recorded, hashes)
    assert max(map(len, recorded.xorbs.values())) > 60 << 20
