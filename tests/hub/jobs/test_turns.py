"""Fair turns: whose job a free worker takes, and that no job is lost though a message may start another."""

import random
from collections import defaultdict

import pytest
from django.utils import timezone

from hub import broker
from hub.models import ADAPTER, Job, JobInput, State
from hub.services import quotas
from hub.services.jobs import lease, queue, reaper, turns
from hub.services.jobs.scheduling import Need
from hub.services.jobs.waiting import settle
from hub.services.worker_nodes import report_worker
from tests.hub import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


def everything(bases: set[int]) -> set[int]:
    """A worker that holds all bases."""
    return bases


class Line:
    """A broker of lists: what was sent and nobody has taken yet, by queue."""

    def __init__(self, monkeypatch) -> None:
        self.queues = defaultdict(list)
        monkeypatch.setattr(broker, "send", self.send)
        monkeypatch.setattr(broker, "depths", lambda names: {name: len(self.queues[name]) for name in names})

    def send(self, job: int, name: str) -> bool:
        self.queues[name].append(job)
        return True

    def held(self) -> set[int]:
        return {job for jobs in self.queues.values() for job in jobs}


@pytest.fixture
def line(monkeypatch) -> Line:
    return Line(monkeypatch)


@pytest.fixture
def users(db):
    return {name: factories.make_user(name) for name in ("ada", "bob", "eve")}


@pytest.fixture
def commits(django_capture_on_commit_callbacks):
    return lambda: django_capture_on_commit_callbacks(execute=True)


def ask(line: Line, user, kind: str = "svd", name: str = "cpu", **values) -> Job:
    """A queued job with its message."""
    job = Job.objects.create(kind=kind, queue=name, created_by=user, **values)
    line.send(job.pk, name)
    return job


def end(job: Job) -> None:
    for state in (State.RUNNING, State.SAVING):
        lease.advance(job_id=job.pk, attempt=job.attempt, state=state)
    lease.finish(job_id=job.pk, attempt=job.attempt)


def work(line: Line, commits, *, worker="w", queues=("cpu",), holds=everything) -> Job | None:
    """Take the next message, as a worker does, and the job that comes of it."""
    for name in (broker.direct_queue(worker), *queues):
        if line.queues[name]:
            hint = line.queues[name].pop(0)
            with commits():
                return turns.take(turns.Taker(worker=worker, queues=queues, holds=holds), hint=hint)
    return None


def order(line: Line, commits) -> list[str]:
    """Whose jobs one worker runs, one after the other, until no message is left."""
    ran = []
    while any(line.queues.values()):
        if job := work(line, commits):
            ran.append(job.created_by.username)
            with commits():
                end(job)
    return ran


def test_one_job_runs_second_behind_fifty(line, users, commits):
    for _ in range(50):
        ask(line, users["ada"])
    first = work(line, commits)
    ask(line, users["bob"])
    with commits():
        end(first)
    ran = order(line, commits)
    assert ran[0] == "bob"
    assert ran[1:] == ["ada"] * 49
    assert not Job.objects.filter(state=State.QUEUED).exists()


def test_users_take_turns_and_each_ones_jobs_go_in_order(line, users, commits):
    asked = [ask(line, users[name]) for name in ("ada", "ada", "ada", "bob", "bob", "eve")]
    began = []
    while (job := work(line, commits)) is not None:
        began.append(job)
        with commits():
            end(job)
    assert [job.created_by.username for job in began] == ["ada", "bob", "eve", "ada", "bob", "ada"]
    for user in users.values():
        mine = [job.pk for job in began if job.created_by == user]
        assert mine == sorted(mine) == [job.pk for job in asked if job.created_by == user]


def test_with_several_workers_the_one_with_the_fewest_running_is_next(line, users, commits):
    for name in ("ada", "ada", "ada", "bob"):
        ask(line, users[name])
    running = [work(line, commits, worker=f"w{n}") for n in range(3)]
    assert [job.created_by.username for job in running] == ["ada", "bob", "ada"]


def test_a_try_out_comes_before_its_owners_other_jobs_only(line, users, commits, base):
    ask(line, users["ada"])
    ask(line, users["bob"])
    ask(line, users["bob"], "try", base=base)
    kinds = []
    while (job := work(line, commits)) is not None:
        kinds.append((job.created_by.username, job.kind))
        with commits():
            end(job)
    assert kinds == [("ada", "svd"), ("bob", "try"), ("bob", "svd")]


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_whoever_reads_which_message(line, users, commits, base, seed):
    """Workers of unlike queues and bases, jobs of unlike needs, in any order: all jobs run, without the reaper."""
    chance = random.Random(seed)
    other = factories.make_base("pico/other")
    version = {one: factories.make_version(users["ada"], one.name[5:], base=one) for one in (base, other)}
    workers = {
        "c": (("cpu",), {base}),
        "g": (("gpu",), {base, other}),
        "b": (("cpu", "gpu"), {other}),
        "n": (("cpu",), set()),
    }
    for name, (queues, held) in workers.items():
        facts = {"queues": list(queues), "bases": [one.pk for one in held], "started_at": timezone.now()}
        report_worker(name=name, device="cpu", loaded=[], environment={}, current_job=None, **facts)

    def may(need, queues, held):
        """A GPU is better for what reads a base, and one worker with a GPU holds both."""
        return need.device in queues and need.held_by({one.pk for one in held})

    running = []
    for _ in range(14):
        kind = chance.choice(["svd", "evaluate"])
        job = ask(line, chance.choice(list(users.values())), kind, chance.choice(["cpu", "gpu"]))
        if kind == "evaluate":
            one = chance.choice([base, other])
            Job.objects.filter(pk=job.pk).update(base=one)
            JobInput.objects.create(job=job, version=version[one], role=ADAPTER, position=0, digest="x")
    settle(Job.objects.all())
    needs = [Need.read(text) for text in Job.objects.values_list("need", flat=True)]
    runnable = sum(any(may(need, *one) for one in workers.values()) for need in needs)
    for _ in range(400):
        name = chance.choice(list(workers))
        queues, held = workers[name]
        if running and chance.random() < 0.5:
            with commits():
                end(running.pop(chance.randrange(len(running))))
        ids = {one.pk for one in held}
        if job := work(line, commits, worker=name, queues=queues, holds=ids.intersection):
            assert may(Need.read(job.need), queues, held)
            running.append(job)
    ended = Job.objects.exclude(state=State.QUEUED).count()
    assert ended == runnable, Job.objects.filter(state=State.QUEUED).values_list("kind", "queue", "base")


class TestTheCap:
    @pytest.fixture(autouse=True)
    def two_each(self, settings):
        settings.QUOTAS = {**settings.QUOTAS, "running_jobs": 2}

    def test_it_holds_at_the_claim_and_blocks_nobody_else(self, line, users, commits):
        for name in ("ada", "ada", "ada", "bob"):
            ask(line, users[name])
        running = [work(line, commits, worker=f"w{n}") for n in range(4)]
        assert [job and job.created_by.username for job in running] == ["ada", "bob", "ada", None]
        assert lease.claim(Job.objects.get(state=State.QUEUED).pk, worker="w") is None
        while any(line.queues.values()):
            assert work(line, commits, worker="w9") is None
        with commits():
            end(running[0])
        assert work(line, commits, worker="w9").created_by == users["ada"]

    def test_the_reaper_sends_nothing_for_who_is_at_it(self, line, users, commits):
        jobs = [ask(line, users["ada"]) for _ in range(3)]
        for _ in range(2):
            work(line, commits)
        line.queues.clear()
        with commits():
            assert reaper.reap() == []
        lease.fail(job_id=jobs[0].pk, attempt=1, error={"message": "no"})
        with commits():
            assert reaper.reap() == [jobs[2].pk]

    def test_an_administrator_may_set_another(self, line, users, commits):
        users["bob"].is_staff = True
        quotas.set_quota(actor=users["bob"], user=users["ada"], running_jobs=1)
        for _ in range(2):
            ask(line, users["ada"])
        assert work(line, commits) and work(line, commits) is None
        quotas.set_quota(actor=users["bob"], user=users["ada"], running_jobs=0)
        assert lease.claim(Job.objects.get(state=State.QUEUED).pk, worker="w")


def test_a_turn_costs_the_same_however_many_wait(line, users, commits, django_assert_max_num_queries):
    for user in users.values():
        Job.objects.bulk_create(Job(kind="svd", need="cpu", created_by=user) for _ in range(300))
    with django_assert_max_num_queries(8):
        assert turns.next_job(turns.Taker(worker="w", queues=["cpu"], holds=everything))


def test_a_cancelled_job_starts_nothing_but_the_next(line, users, commits):
    one, two = ask(line, users["ada"]), ask(line, users["ada"])
    with commits():
        queue.cancel_job(actor=users["ada"], job=one)
    assert work(line, commits).pk == two.pk
    assert work(line, commits) is None
