"""Bodies with something changed: each is refused in plain words, or it means what it meant, and nothing else."""

import hashlib
import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.xet.errors import XetError
from hub.xet.files import rebuild
from hub.xet.shards import read_shard
from hub.xet.xorbs import receive_xorb
from tests.hub.xet.keeping import Store
from tests.hub.xet.test_xorbs import peak_of
from tests.hub.xet.writing import File, Xorb, shard

ONE = Xorb([b"one after another " * 40, bytes(9000), random.Random(1).randbytes(8192), b"x", b"abcd" * 2500])
TWO = Xorb([random.Random(2).randbytes(300), b"the same " * 1000])
FILES = [File([(ONE, 0, 1)]), File([(ONE, 1, 3), (TWO, 1, 2), (ONE, 1, 2)]), File([]), File([(ONE, 4, 5), (ONE, 3, 4)])]
BODIES = [ONE.body, ONE.body + ONE.footer()]
SHARDS = [shard(FILES, [ONE, TWO]), shard(FILES, [ONE, TWO], with_footer=True), shard(FILES[:1], [])]
STORE = Store()
for xorb in (ONE, TWO):
    STORE.receive(xorb.body, xorb.hash)

NUMBERS = (0, 1, 2, 127, 128, 254, 255)


def changed(body: bytes, source: random.Random) -> bytes:
    """A body with one to three things done to it that a broken or a hostile client might do."""
    out = bytearray(body)
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        at = source.randrange(len(out) + 1)
        length = source.choice((1, 1, 2, 3, 4, 8, 32, 48, 1000))
        what = source.randrange(7)
        if what == 0 and at < len(out):
            out[at] ^= 1 << source.randrange(8)
        elif what == 1 and at < len(out):
            out[at] = source.choice(NUMBERS)
        elif what == 2:
            out[at : at + length] = source.randbytes(length)
        elif what == 3:
            del out[at : at + length]
        elif what == 4:
            out[at:at] = out[at : at + length]
        elif what == 5:
            out[at:at] = bytes([source.choice(NUMBERS)]) * length
        else:
            del out[at:]
    return bytes(out)


def receive(body: bytes, xorb: Xorb) -> bool:
    """Whether a body is taken; where it is, it gave the xorb's own chunks."""
    raw = io.BytesIO()
    try:
        index = receive_xorb(io.BytesIO(body), xorb.hash, raw.write)
    except XetError as refused:
        assert refused.code.startswith("xet.") and 20 < len(refused.message) < 400
        return False
    assert list(index.chunks()) == xorb.nodes and raw.getvalue() == b"".join(xorb.chunks)
    return True


def make(body: bytes) -> int:
    """How many files of a shard are made; each has the SHA-256 it was announced with."""
    made = 0
    try:
        found = read_shard(body)
        for listed in found.xorbs:
            assert sum(length for _, length in listed.chunks()) == listed.length
        for file in found.files:
            sha256 = hashlib.sha256()
            for block in rebuild(file, STORE.open, max_bytes=1 << 20):
                sha256.update(block)
            assert sha256.hexdigest() == file.sha256
            made += 1
    except XetError as refused:
        assert refused.code.startswith("xet.") and 20 < len(refused.message) < 400
    assert STORE.open_now == 0
    return made


def test_unchanged_they_are_taken():
    assert all(receive(body, ONE) for body in BODIES)
    assert [make(body) for body in SHARDS] == [4, 4, 1]


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(BODIES))
def test_a_changed_xorb_is_refused_or_the_same(source, body):
    receive(changed(body, source), ONE)


@settings(max_examples=300, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(SHARDS))
def test_a_changed_shard_makes_true_files_or_none(source, body):
    make(changed(body, source))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=500))
def test_noise_is_refused(noise):
    assert not receive(noise, ONE)
    assert make(noise) == make(SHARDS[0][:48] + noise) == 0


def test_every_byte_of_a_xorb_counts():
    """But those of a frame that its reader leaves alone: a change there is harmless, as the hash still holds."""
    refused = 0
    for at in range(len(TWO.body)):
        body = bytearray(TWO.body)
        body[at] ^= 0xFF
        refused += not receive(bytes(body), TWO)
    assert refused >= len(TWO.body) - 4


def test_a_thousand_changed_bodies_cost_no_memory():
    source = random.Random(5)

    def all_of_them() -> None:
        for _ in range(500):
            receive(changed(BODIES[1], source), ONE)
            make(changed(SHARDS[1], source))

    assert peak_of(all_of_them) < 1_500_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_thousand_changed_bodies(seed):
    source = random.Random(seed)
    taken = made = 0
    for _ in range(15_000):
        taken += receive(changed(source.choice(BODIES), source), ONE)
        made += make(changed(source.choice(SHARDS), source)) > 0
    assert taken < 1500 and 0 < made < 15_000
