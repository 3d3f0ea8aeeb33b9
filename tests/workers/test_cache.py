"""The worker's cache: whole folders of checked bytes, shared, within a budget, never a half one."""

import io
import os
import time
from contextlib import nullcontext

import pytest

from hub.models import Job
from hub.services.content.manifest import Entry
from hub.storage import blobs
from workers.attempt import Attempt
from workers.cache import Cache
from workers.publishing import result_folder
from workers.worker import Worker


def put(**files: bytes) -> dict[str, Entry]:
    """Store the bytes; the manifest (`_` in a name stands for a dot)."""
    return {name.replace("_", "."): Entry(*blobs.put(io.BytesIO(data))) for name, data in files.items()}


def age(folder, seconds: float) -> None:
    os.utime(folder, (time.time() - seconds,) * 2)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", budget=1000)


def test_a_folder_holds_the_bytes_and_is_made_once(cache):
    files = put(a_json=b"{}", b_bin=b"12345")
    folder = cache.folder(files)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a.json": b"{}", "b.bin": b"12345"}
    before = (folder / "a.json").stat().st_ino
    assert cache.folder(files) == folder
    assert (folder / "a.json").stat().st_ino == before


def test_paths_in_folders_are_kept(cache):
    entry = put(x=b"deep")["x"]
    assert (cache.folder({"data/train.jsonl": entry}) / "data" / "train.jsonl").read_bytes() == b"deep"


def test_a_cut_folder_is_made_anew(cache):
    files = put(a=b"abcdef")
    folder = cache.folder(files)
    (folder / "a").unlink()
    (folder / "a").write_bytes(b"ab")
    assert (cache.folder(files) / "a").read_bytes() == b"abcdef"


def test_other_bytes_under_a_digest_are_refused_and_leave_nothing(cache):
    files = put(a=b"what was promised, to the byte")
    path = blobs.local_path(files["a"].sha256)
    path.chmod(0o644)
    path.write_bytes(b"what is there now, as long as ")
    with pytest.raises(OSError, match="other bytes"):
        cache.folder(files)
    path.unlink()
    assert list(cache.root.iterdir()) == []


def test_without_links_the_bytes_are_copied_and_checked(cache, monkeypatch):
    def refuse(*_):
        raise OSError("another disk")

    files = put(a=b"copied")
    monkeypatch.setattr(os, "link", refuse)
    assert (cache.folder(files) / "a").read_bytes() == b"copied"
    monkeypatch.setattr("hub.storage.BlobStore.local_path", lambda *_: None)
    (cache.folder(put(b=b"from afar")) / "b").read_bytes()


def test_the_longest_unused_go_first_and_the_fresh_stay(cache):
    folders = [cache.folder(put(a=bytes([n]) * 400)) for n in range(2)]
    age(folders[0], 8000)
    age(folders[1], 9000)
    third = cache.folder(put(a=b"x" * 400))
    assert [folders[0].exists(), folders[1].exists(), third.exists()] == [True, False, True]
    assert cache.size() <= cache.budget
    # Everything left was used within the hour or is needed now: the budget gives way, not a running job.
    age(folders[0], 10)
    cache.folder(put(a=b"y" * 400))
    assert folders[0].exists()


def test_what_a_killed_worker_left_half_done_is_swept(cache, settings):
    rest = cache.root / ".part-abc"
    rest.mkdir(parents=True)
    (rest / "weights").write_bytes(b"half")
    settings.KEEP_UNUSED_HOURS = 2
    age(rest, 8000)
    cache.folder(put(a=b"1"))
    assert rest.exists(), "something in it was written just now"
    age(rest / "weights", 8000)
    cache.folder(put(a=b"2"))
    assert not rest.exists()


def uses(worker: Worker, how: str, files: dict[str, Entry]):
    """A worker's job that uses a folder in each way there is; the folder."""
    if how == "an input":
        return nullcontext(worker.cache.folder(files))
    if how == "stages to resume from":
        return nullcontext(worker.cache.hold(worker.cache.root / "generator-7"))
    return result_folder(worker)


@pytest.mark.parametrize("how", ["an input", "stages to resume from", "a result"])
def test_what_a_job_uses_for_hours_is_not_removed_by_another_worker(how, worker, settings):
    """Two workers share a cache. The heartbeat of the one says what its job uses; the other needs room."""
    other = Cache(worker.cache.root, budget=1)
    with worker.holding(Attempt(Job(pk=7, attempt=1))), uses(worker, how, put(a=b"in use")) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        age(folder, 100_000)
        worker.heartbeat.held = None
        worker.heartbeat.beat()
        other.folder(put(a=b"needs room"))
        assert folder.exists()
        age(folder, 100_000)
    worker.heartbeat.beat()
    other.folder(put(a=b"needs room too"))
    assert not folder.exists(), "its job is over"
