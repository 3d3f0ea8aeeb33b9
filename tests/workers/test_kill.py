"""kill -9 on a real worker at every point of a job: another worker brings the same bytes, and nothing is half.

Each round starts one victim a point, gives each a job of its own, kills each where it stands still, and lets one
ordinary worker, through its heartbeat's reaper, find and finish what they left.
"""

import random
import time
from pathlib import Path

import pytest

from hub import broker
from hub.models import Blob, Job, JobLog, Ref, Repository, Revision, State, Version, WorkerNode
from hub.services.content.manifest import manifest_of
from hub.services.jobs import queue as jobs
from hub.services.jobs import reaper
from tests.workers.conftest import NOBODY, use_redis
from tests.workers.stage import LEASE, REDIS, Nursery, Process, clean_redis, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services]

# Where it is killed → the state its row is in at that moment, as others see it.
POINTS = {
    "taken": State.QUEUED,
    "loading": State.LOADING,
    "running": State.RUNNING,
    "saving": State.SAVING,
    "publishing": State.SAVING,
    "done": State.DONE,
}


@pytest.fixture(scope="module")
def nursery(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def stage(nursery, settings, tmp_path):
    """Redis and the lease the processes use; `start(name, point)` starts one. All are gone afterwards."""
    clean_redis()
    use_redis(settings, REDIS)
    settings.JOB_LEASE_SECONDS = LEASE
    started = []

    def start(name: str, point: str = "", cache: Path | None = None) -> Process:
        started.append(nursery.start(tmp_path / name, point, cache))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def state(job: Job) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


def kill_each(stage, queue, owner, pair, round_: int) -> dict[str, Job]:
    """One victim a point, each killed there with its own job in hand."""
    victims = {point: stage(f"{point}-{round_}", point) for point in POINTS}
    held = {}
    for victim in victims.values():
        until(lambda v=victim: WorkerNode.objects.filter(name=v.name).exists(), 120, say=victim.story)
    for point, victim in victims.items():
        held[point] = queue("svd", output=f"{point}-{round_}", rank=3)
        broker.send(held[point].pk, broker.direct_queue(victim.name))
        until(victim.marker.exists, 60, say=victim.story)
        assert state(held[point]) == POINTS[point]
        time.sleep(random.uniform(0, 0.2))
        victim.kill()
    # What the queue still holds would spare the rescuer the search.
    broker.client().delete(broker.CPU)
    return held


def check_rescued(held: dict[str, Job], expected: Version, story) -> None:
    """Every job is DONE with the undisturbed run's bytes, in exactly one version, revision and pair of refs."""
    for point, job in held.items():
        until(lambda j=job: state(j) in (State.DONE, State.FAILED), 60, say=story)
        job.refresh_from_db()
        assert (job.state, job.error) == (State.DONE, None), point
        # The attempt that was taken was lost; where none was claimed, or it had ended, none was.
        assert job.attempt >= (1 if point in ("taken", "done") else 2), point
        assert job.lost == job.attempt - 1, point
        repository = Repository.objects.get(name=job.output_name)
        (version,) = Version.objects.filter(repository=repository)
        (revision,) = Revision.objects.filter(repository=repository)
        assert job.result == version
        assert {ref.revision for ref in Ref.objects.filter(repository=repository)} == {revision}
        manifest, wanted = manifest_of(revision), manifest_of(expected.revisions.get())
        for path in ("adapter_model.safetensors", "adapter_config.json"):
            assert manifest[path] == wanted[path], point
        assert JobLog.objects.filter(job=job, attempt=job.attempt).exists()
    named = set(Blob.objects.values_list("pk", flat=True))
    assert {
        entry.sha256 for job in held.values() for entry in manifest_of(job.result.revisions.get()).values()
    } <= named


def rounds(stage, queue, owner, pair, work, count: int) -> None:
    expected = work(queue("svd", output="undisturbed", rank=3)).result
    for round_ in range(count):
        held = kill_each(stage, queue, owner, pair, round_)
        rescuer = stage(f"rescuer-{round_}")
        check_rescued(held, expected, rescuer.story)
        until(lambda: not broker.waiting({broker.CPU}), 30)
        rescuer.stop()
        assert not WorkerNode.objects.filter(name=rescuer.name).exists()


def test_a_worker_killed_at_any_point_costs_time_only(stage, queue, owner, pair, work):
    rounds(stage, queue, owner, pair, work, 1)


@pytest.mark.slow
def test_a_worker_killed_at_any_point_ten_times(stage, queue, owner, pair, work):
    rounds(stage, queue, owner, pair, work, 10)


def test_a_job_queued_while_nobody_works_is_done_later(stage, queue):
    job = queue("svd", rank=2)
    assert broker.waiting({broker.CPU}) == {job.pk}
    worker = stage("late")
    until(lambda: state(job) == State.DONE, 60, say=worker.story)


def give(job: Job, worker: Process) -> None:
    """Hand the job to a halting worker, and wait until it stands still with it."""
    until(lambda: WorkerNode.objects.filter(name=worker.name).exists(), 60, say=worker.story)
    broker.send(job.pk, broker.direct_queue(worker.name))
    until(worker.marker.exists, 60, say=worker.story)
    broker.client().delete(broker.CPU)


@pytest.mark.parametrize("point", ["loading", "running", "reporting"])
def test_sigterm_gives_the_job_back_at_once(stage, queue, point):
    worker, job = stage("stopped", point), queue("svd", rank=2)
    give(job, worker)
    worker.terminate()
    until(lambda: state(job) == State.QUEUED, 5, say=worker.story)
    job.refresh_from_db()
    assert (job.lost, job.attempt, job.worker) == (0, 1, "")
    until(lambda: broker.waiting({broker.CPU}) == {job.pk}, 5)
    if point == "reporting":
        until(lambda: not worker.alive(), 20, say=worker.story)
        assert not WorkerNode.objects.filter(name=worker.name).exists()


def test_cancel_reaches_a_worker_that_reports(stage, queue, owner):
    worker, job = stage("busy", "reporting"), queue("svd", rank=2)
    give(job, worker)
    jobs.cancel_job(actor=owner, job=job)
    next_job = queue("svd", output="next", rank=2)
    worker.marker.unlink()
    broker.send(next_job.pk, broker.direct_queue(worker.name))
    # It is free again without having been restarted, and the cancelled job has left nothing.
    until(worker.marker.exists, 30, say=worker.story)
    assert (state(job), state(next_job)) == (State.CANCELLED, State.RUNNING)
    assert not Repository.objects.filter(name="merged").exists()


def test_a_cancelled_job_stays_cancelled_when_its_worker_dies(stage, queue, owner):
    worker, job = stage("busy", "running"), queue("svd", rank=2)
    give(job, worker)
    jobs.cancel_job(actor=owner, job=job)
    worker.kill()
    time.sleep(LEASE + 1)
    reaper.reap()
    assert state(job) == State.CANCELLED


def test_with_the_broker_away_jobs_wait_and_go_on_when_it_is_back(stage, queue, settings):
    use_redis(settings, NOBODY)
    job = queue("svd", rank=2)
    job.refresh_from_db()
    assert (job.state, job.sent_at) == (State.QUEUED, None)
    use_redis(settings, REDIS)
    worker = stage("back")
    until(lambda: state(job) == State.DONE, 60, say=worker.story)


@pytest.mark.slow
def test_a_job_that_kills_its_workers_fails_and_the_others_are_done(stage, queue):
    deadly = queue("svd", output="deadly", rank=2)
    others = [queue("cat", output=f"other{n}") for n in range(3)]
    workers: list[Process] = []

    def is_over() -> bool:
        # A supervisor starts a worker that died again.
        if not any(worker.alive() for worker in workers):
            workers.append(stage(f"victim{len(workers)}", "dying"))
        return state(deadly) == State.FAILED and all(state(job) == State.DONE for job in others)

    until(is_over, 240, every=0.3, say=lambda: workers[-1].story())
    deadly.refresh_from_db()
    assert (deadly.lost, deadly.error["code"], deadly.error["times"]) == (3, "worker.lost", 3)
    assert "went silent 3 times" in deadly.error["message"]
    assert "too little memory" in deadly.error["message"]
    assert [Job.objects.get(pk=job.pk).lost for job in others] == [0, 0, 0]
