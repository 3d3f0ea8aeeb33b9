"""What a job resumes from goes to the store and to another worker: newest only, fenced, private, gone at its end."""

import json
import threading
import time
from pathlib import Path

import pytest

from hub.models import Blob, Job, JobCheckpoint, State
from hub.services.jobs import files, lease, reaper
from hub.services.jobs.recheck import recheck
from hub.services.upkeep import fsck
from hub.storage import blobs
from tests.workers.conftest import use_redis
from tests.workers.stage import LEASE, REDIS, Nursery, clean_redis, until
from tests.workers.test_kill import state
from tests.workers.test_kill_transfer import give, moves, weights  # noqa: F401 - fixtures
from workers.checkpoints import carrier

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held(queue) -> Job:
    """A job in its first attempt."""
    return lease.claim(queue("svd", rank=2).pk, worker="first")


def write(folder: Path, **texts: str) -> Path:
    """A work folder with these files."""
    for name, text in texts.items():
        place = folder / name.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def carry(job: Job, folder: Path) -> bool:
    """One round of the carrier's."""
    stored = carrier.store(folder, carrier.list_files(folder), {})
    entries = {path: entry for path, (_, entry) in stored.items()}
    return files.keep_checkpoint(job_id=job.pk, attempt=job.attempt, entries=entries)


def again(job: Job) -> Job:
    """The job's worker went silent, and another has taken the job."""
    Job.objects.filter(pk=job.pk).update(lease_until="2020-01-01T00:00:00Z")
    assert job.pk in reaper.reap()
    return lease.claim(job.pk, worker="second")


def contents(folder: Path) -> dict[str, str]:
    return {path: (folder / path).read_text() for path in carrier.list_files(folder)}


def stored() -> set[str]:
    return {sha256 for sha256 in Blob.objects.values_list("pk", flat=True) if blobs.exists(sha256)}


def test_another_worker_goes_on_from_it(held, tmp_path):
    assert carry(held, write(tmp_path / "one", state="step 1", stages__rows="a"))
    second = again(held)
    folder = tmp_path / "two"
    folder.mkdir()
    assert carrier.fetch(second, folder)
    assert contents(folder) == {"state": "step 1", "stages/rows": "a"}
    assert not carrier.fetch(second, folder), "what this attempt has done since is newer"


def test_the_worker_that_has_the_newest_keeps_its_own(held, tmp_path):
    folder = write(tmp_path / "one", state="step 1")
    carrier.fetch(held, folder)
    carry(held, folder)
    write(folder, state="step 2")  # Not carried yet, when the worker was stopped.
    third = again(held)
    assert not carrier.fetch(third, folder)
    assert contents(folder) == {"state": "step 2"}


def test_a_folder_of_an_earlier_attempt_gives_way(held, tmp_path):
    old = write(tmp_path / "one", state="step 1", half="x")
    carrier.fetch(held, old)
    second = again(held)
    carry(second, write(tmp_path / "two", state="step 9"))
    assert carrier.fetch(again(second), old)
    assert contents(old) == {"state": "step 9"}


def test_the_newest_only_is_kept_and_the_bytes_before_it_are_gone(held, tmp_path):
    before, folder = stored(), write(tmp_path / "one", state="step 1", same="text")
    for step in range(2, 6):
        carry(held, folder)
        write(folder, state=f"step {step}")
    carry(held, folder)
    assert {row.path: row.attempt for row in JobCheckpoint.objects.all()} == {"state": 1, "same": 1}
    assert len(stored() - before) == 2


def test_a_ghost_changes_nothing_and_leaves_nothing(held, tmp_path):
    carry(held, write(tmp_path / "one", state="step 1"))
    second = again(held)
    carry(second, write(tmp_path / "two", state="step 2"))
    there = stored()
    assert not carry(held, write(tmp_path / "one", state="what the ghost did"))
    assert files.checkpoint_of(second)[0] == 2
    assert stored() == there


def test_it_is_let_go_when_the_job_is_done(held, work, queue, tmp_path):
    before = stored()
    carry(held, write(tmp_path / "one", state="step 1"))
    for state_ in (State.RUNNING, State.SAVING):
        lease.advance(job_id=held.pk, attempt=1, state=state_)
    lease.finish(job_id=held.pk, attempt=1)
    assert not JobCheckpoint.objects.exists() and stored() == before


def test_it_is_kept_for_a_retry_and_then_purged(held, tmp_path, settings):
    before = stored()
    carry(held, write(tmp_path / "one", state="step 1"))
    lease.fail(job_id=held.pk, attempt=1, error={"code": "x", "message": "x"})
    files.purge()
    assert JobCheckpoint.objects.exists()
    Job.objects.update(finished_at="2020-01-01T00:00:00Z")
    files.purge()
    assert not JobCheckpoint.objects.exists() and stored() == before


def test_it_is_no_input_of_the_job_and_fsck_knows_it(held, tmp_path):
    carry(held, write(tmp_path / "one", state="step 1"))
    assert recheck(held) is not None
    assert files.held(held) == []
    assert list(fsck.check(fsck.look())) == []


def test_one_that_was_lost_or_damaged_costs_time_only(held, tmp_path):
    carry(held, write(tmp_path / "one", state="step 1"))
    row = JobCheckpoint.objects.get()
    blobs.delete(row.blob_id)
    folder = tmp_path / "two"
    folder.mkdir()
    assert not carrier.fetch(again(held), folder)
    assert contents(folder) == {}


def test_what_is_half_written_is_not_carried(held, tmp_path):
    folder = write(tmp_path / "one", state="whole", **{"state.part": "ha"})
    carrier.fetch(held, folder)
    assert set(carrier.list_files(folder)) == {"state"}


def test_the_thread_carries_what_changed_and_ends_with_the_attempt(held, tmp_path, settings):
    settings.CHECKPOINT_SECONDS = 0.02
    folder = write(tmp_path / "one", state="step 1")
    one = carrier.Carrier()
    one.begin(held, folder)
    until(lambda: JobCheckpoint.objects.exists(), 20)
    first = JobCheckpoint.objects.get().blob_id
    write(folder, state="step 2")
    until(lambda: JobCheckpoint.objects.get().blob_id != first, 20)
    one.end()
    until(lambda: not any(thread.name == "checkpoints" for thread in threading.enumerate()), 20)


def test_one_above_the_limit_stays_here(held, tmp_path, settings):
    settings.CHECKPOINT_SECONDS, settings.CHECKPOINT_BYTES = 0.02, 3
    one = carrier.Carrier()
    one.begin(held, write(tmp_path / "one", state="longer than that"))
    time.sleep(0.3)
    one.end()
    assert not JobCheckpoint.objects.exists()


@pytest.mark.slow
@pytest.mark.services
def test_a_transfer_goes_on_at_another_host(moves, work, settings, tmp_path):  # noqa: F811
    """kill -9 in the middle of its training; the rescuer has a cache of its own, as on another machine."""
    expected = work(moves("undisturbed"))
    clean_redis()
    use_redis(settings, REDIS)
    settings.JOB_LEASE_SECONDS = LEASE
    nursery, started = Nursery(HUB_CHECKPOINT_SECONDS="1"), []
    try:
        started.append(victim := nursery.start(tmp_path / "victim", "distilling"))
        job = moves("rescued")
        give(job, victim)
        until(lambda: JobCheckpoint.objects.filter(job=job, path__endswith="state.safetensors").exists(), 60)
        time.sleep(2)  # The step at which it stands still is carried too.
        victim.kill()
        started.append(rescuer := nursery.start(tmp_path / "rescuer"))
        until(lambda: state(job) in (State.DONE, State.FAILED), 120, say=rescuer.story)
        job.refresh_from_db()
        assert (job.state, job.error, job.attempt, job.lost) == (State.DONE, None, 2, 1)
        assert weights(job) == weights(expected)
        assert "goes on from a checkpoint" in rescuer.story()
        assert not JobCheckpoint.objects.exists()
    finally:
        for process in started:
            process.kill()
        nursery.close()


def test_the_figures_of_a_search_are_carried_as_they_are(held, tmp_path):
    folder = write(tmp_path / "one", arm=json.dumps({"a": 1.5}))
    carry(held, folder)
    (entry,) = files.checkpoint_of(held)[1].values()
    with blobs.open(entry.sha256) as stream:
        assert json.load(stream) == {"a": 1.5}
