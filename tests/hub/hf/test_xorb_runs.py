"""Full xorbs that come in order become a large file's blob as they lie; in every other order the file is the same."""

import io
import os
from itertools import permutations

import pytest

from hub.models import Arrival
from hub.services.arrivals import chunks, stores, xorb_runs
from hub.storage import blobs
from tests.hub.hf.test_xet_uploads import Cas, cas, hf, named, sha256_of
from tests.hub.xet.writing import File, Xorb

pytestmark = pytest.mark.django_db
__all__ = ["cas", "hf"]


def xorb(size: int) -> Xorb:
    return Xorb([os.urandom(size) for _ in range(3)])


FULL, TAIL = [xorb(30_000) for _ in range(3)], xorb(10_000)
WHOLE = File([*((one, 0, 3) for one in FULL), (TAIL, 0, 2)])


@pytest.fixture(autouse=True)
def full(monkeypatch):
    """From so many bytes on a xorb is full."""
    monkeypatch.setattr(chunks, "FULL", 80_000)


@pytest.fixture
def put(monkeypatch) -> list[str]:
    """The digests of the blobs that were written by a copy."""
    copied, before = [], blobs.put_proven
    monkeypatch.setattr(blobs, "put_proven", lambda blocks, sha: copied.append(sha) or before(blocks, sha))
    return copied


def left(cas: Cas) -> list[str]:
    """Which kinds of files of bytes lie in the store."""
    return sorted({path.suffix for path in stores.folder(cas.store).glob("xorbs/*")} & {".raw", ".run", ".part"})


def read(file: File) -> bytes:
    with blobs.open(sha256_of(file)) as stream:
        return stream.read()


def test_a_large_file_is_written_once_and_its_last_part_behind_it(cas, put):
    for one in (*FULL, TAIL):
        assert cas.xorb(one).status_code == 200
    (run,) = stores.folder(cas.store).glob("xorbs/*.run")
    there, charged = run.stat().st_ino, cas.store.bytes
    assert charged == 300_000 and run.stat().st_size == 270_000
    assert cas.shard(WHOLE).status_code == 200
    assert read(WHOLE) == WHOLE.data and put == []
    assert blobs.local_path(sha256_of(WHOLE)).stat().st_ino == there and not run.exists()
    assert cas.store.bytes == 30_000 and left(cas) == [".raw"], "The file has not all of the last xorb."


def test_a_file_that_ends_with_a_full_xorb_has_nothing_behind_it(cas, put):
    file = File([(one, 0, 3) for one in FULL])
    for one in FULL:
        cas.xorb(one)
    assert cas.shard(file).status_code == 200
    assert read(file) == file.data and put == [] and cas.store.bytes == 0 and left(cas) == []


@pytest.mark.parametrize("order", permutations(range(3)))
def test_in_every_order_the_file_is_right_and_its_xorbs_take_no_room(cas, put, order):
    file = File([(FULL[number], 0, 3) for number in order])
    for one in FULL:
        cas.xorb(one)
    assert cas.shard(file).status_code == 200
    assert read(file) == file.data
    assert put == ([] if order == (0, 1, 2) else [sha256_of(file)])
    assert cas.store.bytes == 0 and left(cas) == []


def test_files_that_share_a_run_are_copies_and_the_run_goes_with_its_last_xorb(cas, put):
    first, second = File([(FULL[0], 0, 3), (TAIL, 0, 1)]), File([(FULL[1], 0, 3), (FULL[2], 0, 3), (TAIL, 1, 3)])
    for one in (*FULL, TAIL):
        cas.xorb(one)
    assert cas.shard(first).status_code == 200
    assert cas.store.bytes == 300_000, "Two xorbs of the run are nowhere else."
    assert cas.shard(second).status_code == 200
    assert (read(first), read(second)) == (first.data, second.data) and len(put) == 2
    assert cas.store.bytes == 30_000 and ".run" not in left(cas)
    again = File([(FULL[2], 1, 3), (FULL[0], 0, 3)])
    assert cas.shard(again).status_code == 200 and read(again) == again.data


def test_what_comes_after_a_file_begins_a_run_of_its_own(cas, put):
    one, two = File([(FULL[0], 0, 3)]), File([(FULL[1], 0, 3), (FULL[2], 0, 3)])
    cas.xorb(FULL[0])
    cas.shard(one)
    cas.xorb(FULL[1])
    cas.xorb(FULL[2])
    assert cas.shard(two).status_code == 200
    assert (read(one), read(two)) == (one.data, two.data) and put == [] and left(cas) == []


def test_a_xorb_that_is_wrong_leaves_the_run_as_it_was(cas, put):
    cas.xorb(FULL[0])
    for wrong in (FULL[1].body[:-1], FULL[1].body[:-5] + b"wrong"):
        assert cas.xorb(FULL[1], body=wrong).status_code == 400
    (run,) = stores.folder(cas.store).glob("xorbs/*.run")
    assert run.stat().st_size == 90_000 == cas.store.bytes
    assert cas.xorb(FULL[1]).json() == {"was_inserted": True}
    file = File([(FULL[0], 0, 3), (FULL[1], 0, 3)])
    assert cas.shard(file).status_code == 200 and read(file) == file.data and put == []


def test_a_file_of_another_digest_is_refused_and_nothing_stays_behind_the_run(cas):
    for one in (*FULL, TAIL):
        cas.xorb(one)
    refused = cas.shard(File(WHOLE.terms, sha256=bytes(32)))
    assert refused.status_code == 400 and "its bytes have" in refused.content.decode()
    (run,) = stores.folder(cas.store).glob("xorbs/*.run")
    assert run.stat().st_size == 270_000 and not Arrival.objects.exists()


def test_a_process_that_did_not_write_the_run_makes_a_copy_of_it(cas, put, monkeypatch):
    for one in (*FULL, TAIL):
        cas.xorb(one)
    xorb_runs._known.clear()
    assert cas.shard(WHOLE).status_code == 200
    assert read(WHOLE) == WHOLE.data and put == [sha256_of(WHOLE)]


def test_xorbs_that_come_at_once_are_taken_in_in_their_order(cas, put):
    folder = stores.folder(cas.store) / "xorbs"
    cas.xorb(FULL[0])
    slow = chunks.ArrivingXorb(cas.store, named(FULL[1]), len(FULL[1].body))
    assert cas.xorb(FULL[2]).status_code == 200
    assert (folder / f"{named(FULL[2])}.raw").exists(), "An earlier one still comes."
    chunks.put_xorb(store=cas.store, name="", stream=io.BytesIO(FULL[1].body), length=0, arriving=slow)
    last = xorb(30_000)
    assert cas.xorb(last).status_code == 200
    assert left(cas) == [".run"], "What had to wait lies behind the run by now."
    file = File([(one, 0, 3) for one in (*FULL, last)])
    assert cas.shard(file).status_code == 200
    assert read(file) == file.data and put == [] and cas.store.bytes == 0 and left(cas) == []


def test_one_of_them_that_is_cut_is_no_part_of_the_run(cas, put):
    cut = chunks.ArrivingXorb(cas.store, named(FULL[0]), len(FULL[0].body))
    also = chunks.ArrivingXorb(cas.store, named(FULL[2]), len(FULL[2].body))
    cas.xorb(FULL[1])
    cut.read(io.BytesIO(FULL[0].body[:50_000]))
    cut.close()
    also.close()
    cas.xorb(FULL[0])
    file = File([(FULL[1], 0, 3), (FULL[0], 0, 3)])
    assert cas.shard(file).status_code == 200
    assert read(file) == file.data and put == [] and cas.store.bytes == 0 and left(cas) == []
