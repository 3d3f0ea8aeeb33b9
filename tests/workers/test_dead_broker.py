"""A broker that dies, hangs or forgets costs time: the job in hand ends, and the same worker takes the next one.

The worker is a real process and the broker a real server, killed or stopped while the worker holds a job.
"""

import pytest
import redis

from hub.models import Job, State, WorkerNode
from tests.workers.conftest import use_redis
from tests.workers.stage import LEASE, Broker, Nursery, Process, until

STUCK = 3
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services]


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("broker"))
    yield broker
    if broker.process:
        broker.kill()


@pytest.fixture(scope="module")
def nursery(broker, django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        nursery = Nursery(broker.url, HUB_WORKER_STUCK_SECONDS=str(STUCK))
    yield nursery
    nursery.close()


@pytest.fixture
def start(broker, nursery, settings, tmp_path):
    """`start(point)` starts the broker and a worker, and waits until it reports; all are gone afterwards."""
    started = []

    def start(point: str, name: str = "worker") -> Process:
        if not started:
            broker.start()
        use_redis(settings, broker.url)
        settings.JOB_LEASE_SECONDS = LEASE
        worker = nursery.start(tmp_path / name, point)
        started.append(worker)
        until(lambda: WorkerNode.objects.filter(name=worker.name).exists(), 120, say=worker.story)
        return worker

    yield start
    for worker in started:
        worker.kill()
    broker.resume()
    broker.kill(wipe=True)


@pytest.fixture
def worker(start) -> Process:
    """A worker that is ready for jobs, and waits for `go` in each of them."""
    return start("waiting")


def state(job: Job) -> str:
    return Job.objects.values_list("state", flat=True).get(pk=job.pk)


def restart(broker: Broker, *, wipe: bool = False) -> None:
    broker.kill(wipe=wipe)
    broker.start()


FAULTS = {
    "restarted": (restart, lambda broker: None),
    "restarted and empty": (lambda broker: restart(broker, wipe=True), lambda broker: None),
    "away until the job is done": (Broker.kill, Broker.start),
    "hanging until the job is done": (Broker.pause, Broker.resume),
    "connections closed": (Broker.drop_connections, lambda broker: None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_job_ends_and_the_worker_takes_the_next(worker: Process, broker, queue, fault):
    break_it, mend_it = FAULTS[fault]
    job = queue("svd", rank=2)
    until(worker.marker.exists, 30, say=worker.story)
    break_it(broker)
    worker.go.touch()
    until(lambda: state(job) == State.DONE, 30, say=worker.story)
    mend_it(broker)
    more = [queue("svd", output=f"next{n}", rank=2) for n in range(2)]
    until(lambda: {state(one) for one in more} == {State.DONE}, 30, say=worker.story)
    assert Job.objects.get(pk=job.pk).attempt == 1


@pytest.mark.slow
@pytest.mark.parametrize("wipe", [False, True], ids=["with its data", "empty"])
def test_every_one_of_several_workers_hears_the_broker_that_came_back(start, broker, queue, wipe):
    workers = [start("waiting", f"worker{n}") for n in range(3)]
    jobs = [queue("svd", output=f"held{n}", rank=2) for n in range(3)]
    until(lambda: all(worker.marker.exists() for worker in workers), 60, say=workers[0].story)
    broker.kill(wipe=wipe)
    for worker in workers:
        worker.go.touch()
    until(lambda: {state(job) for job in jobs} == {State.DONE}, 60, say=workers[0].story)
    broker.start()
    until(lambda: listening(broker) == len(workers), 60, say=workers[0].story)
    more = [queue("svd", output=f"next{n}", rank=2) for n in range(9)]
    until(lambda: {state(job) for job in more} == {State.DONE}, 90, say=workers[0].story)
    assert set(Job.objects.values_list("attempt", "lost")) == {(1, 0)}
    until(lambda: set(WorkerNode.objects.values_list("trouble", flat=True)) == {""}, 30)
    assert all(worker.alive() for worker in workers)


def listening(broker: Broker) -> int:
    """How many clients wait for a message."""
    return sum(client["cmd"] == "brpop" for client in redis.Redis(port=broker.port).client_list())


def test_without_a_broker_a_job_waits_for_seconds_and_sigterm_gives_it_back(worker, broker, queue, settings):
    broker.kill()
    job = queue("svd", rank=2)
    until(worker.marker.exists, 30, say=worker.story)
    assert state(job) == State.RUNNING
    worker.terminate()
    until(lambda: not worker.alive(), 30, say=worker.story)
    job.refresh_from_db()
    assert (job.state, job.lost, job.worker) == (State.QUEUED, 0, "")
    assert not WorkerNode.objects.exists()


@pytest.mark.slow
@pytest.mark.parametrize("point", ["deaf", "blind"])
def test_a_stuck_worker_says_so_works_on_and_starts_again(start, queue, point):
    worker = start(point)
    until(worker.marker.exists, 60, say=worker.story)
    first = WorkerNode.objects.get(name=worker.name)
    jobs = [queue("svd", output=f"stuck{n}", rank=2) for n in range(2)]
    until(lambda: {state(job) for job in jobs} == {State.DONE}, 60, say=worker.story)
    until(lambda: "Stuck" in WorkerNode.objects.get(name=worker.name).trouble, 60, say=worker.story)
    until(lambda: WorkerNode.objects.get(name=worker.name).started_at > first.started_at, 60, say=worker.story)
    after = queue("svd", output="after", rank=2)
    until(lambda: state(after) == State.DONE, 60, say=worker.story)
    assert "no message of it came" not in worker.story().split("starts again:")[-1], "it hears the broker again"
    until(lambda: WorkerNode.objects.get(name=worker.name).trouble == "", 60, say=worker.story)
