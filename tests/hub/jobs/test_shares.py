"""Who takes what, decided at the claim: devices, bases in memory, namespaces' shares, priorities."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hub import broker
from hub.models import Job, Priority, State
from hub.services.jobs import lease, queue, turns
from hub.services.jobs.scheduling import Need
from hub.services.worker_nodes import report_worker
from tests.hub import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
CPU, BOTH, GPU = ("cpu",), ("cpu", "gpu"), ("gpu",)


@pytest.fixture(autouse=True)
def sent(monkeypatch):
    """What went to the broker."""
    messages = []
    monkeypatch.setattr(broker, "send", lambda job, queue: messages.append((job, queue)) or True)
    return messages


@pytest.fixture
def users(db):
    return {name: factories.make_user(name) for name in ("ada", "bob", "eve", "max")}


def ask(user, *, device: str = "cpu", bases=(), minutes: float = 0, **values) -> Job:
    need = str(Need(device, tuple(base.pk for base in bases)))
    job = Job.objects.create(kind="svd", created_by=user, need=need, **values)
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(minutes=minutes))
    return job


def show(name: str, queues, *, bases=(), loaded=(), job: Job | None = None) -> turns.Taker:
    """A live worker with these bases on its disk and in its memory."""
    held, warm = [base.pk for base in bases], [base.pk for base in loaded]
    about = {"device": "x", "environment": {}, "started_at": timezone.now(), "current_job": job and job.pk}
    report_worker(name=name, queues=list(queues), bases=held, loaded=warm, **about)
    return turns.Taker(worker=name, queues=queues, holds=set(held).intersection, loaded=warm)


def took(taker: turns.Taker, hint: int | None = None) -> int | None:
    job = turns.take(taker, hint=hint)
    return job and job.pk


class TestDevices:
    def test_a_gpu_that_appears_takes_what_waited_for_none(self, users, base):
        job = ask(users["ada"], device="gpu", bases=[base])
        show("c", CPU, bases=[base], job=job)
        assert took(show("g", GPU, bases=[base])) == job.pk

    def test_a_worker_without_one_leaves_it_to_a_gpu_and_sends_it_there(
        self, users, base, sent, django_capture_on_commit_callbacks
    ):
        job = ask(users["ada"], device="gpu", bases=[base])
        without = show("c", CPU, bases=[base])
        show("g", BOTH, bases=[base])
        with django_capture_on_commit_callbacks(execute=True):
            assert took(without, hint=job.pk) is None
        assert sent == [(job.pk, "worker.g")]

    @pytest.mark.parametrize("gone", ["silent", "without the base"])
    def test_where_no_gpu_can_a_worker_without_one_takes_it(self, users, base, gone):
        job = ask(users["ada"], device="gpu", bases=[base])
        without = show("c", CPU, bases=[base])
        show("g", BOTH, bases=[base] if gone == "silent" else [])
        if gone == "silent":
            from hub.models import WorkerNode

            WorkerNode.objects.filter(name="g").update(seen_at=timezone.now() - timedelta(hours=1))
        assert took(without) == job.pk

    def test_a_worker_for_gpus_only_takes_nothing_else(self, users):
        ask(users["ada"])
        assert took(show("g", GPU)) is None

    def test_a_worker_apart_takes_what_is_sent_to_it_alone(self, users):
        ask(users["ada"])
        sent_to_it, apart = ask(users["bob"]), show("a", ("apart",))
        assert took(apart) is None and not turns.is_overlooked(apart)
        assert took(apart, hint=sent_to_it.pk) == sent_to_it.pk

    def test_where_a_job_is_sent_follows_who_lives_now(self, users, base, sent, django_capture_on_commit_callbacks):
        job = ask(users["ada"], device="gpu", bases=[base])
        for queues, name in ((CPU, "cpu"), (BOTH, "gpu")):
            show("w", queues, bases=[base])
            with django_capture_on_commit_callbacks(execute=True):
                queue.send_later(job)
            assert sent.pop() == (job.pk, name)


class TestWarmBases:
    """A base in memory is worth a moment's waiting, and no more."""

    @pytest.fixture
    def other(self):
        return factories.make_base("pico/other")

    def test_a_job_is_left_to_the_idle_worker_that_has_its_base_in_memory(
        self, users, base, sent, django_capture_on_commit_callbacks
    ):
        job = ask(users["ada"], bases=[base])
        cold, warm = show("cold", CPU, bases=[base]), show("warm", CPU, bases=[base], loaded=[base])
        with django_capture_on_commit_callbacks(execute=True):
            assert took(cold, hint=job.pk) is None
        assert sent == [(job.pk, "worker.warm")]
        assert took(warm) == job.pk

    def test_not_to_a_busy_one(self, users, base):
        job = ask(users["ada"], bases=[base])
        show("warm", CPU, bases=[base], loaded=[base], job=job)
        assert took(show("cold", CPU, bases=[base])) == job.pk

    def test_not_for_long(self, users, base):
        job = ask(users["ada"], bases=[base], minutes=1)
        show("warm", CPU, bases=[base], loaded=[base])
        assert took(show("cold", CPU, bases=[base])) == job.pk

    def test_a_worker_prefers_its_own_among_a_user_s_jobs(self, users, base, other):
        first, second = ask(users["ada"], bases=[other]), ask(users["ada"], bases=[base])
        warm = show("w", CPU, bases=[base, other], loaded=[base])
        assert [took(warm), took(warm)] == [second.pk, first.pk]

    def test_but_not_before_one_that_waited_or_is_more_urgent(self, users, base, other):
        old, urgent = ask(users["ada"], bases=[other], minutes=1), ask(users["bob"], bases=[other], priority=10)
        ask(users["ada"], bases=[base]), ask(users["bob"], bases=[base])
        warm = show("w", CPU, bases=[base, other], loaded=[base])
        assert {took(warm), took(warm)} == {old.pk, urgent.pk}


class TestNamespaces:
    def test_the_members_of_one_share_its_turn(self, users):
        """Three of one namespace and one alone: theirs takes every other turn, and each of them a third of these."""
        lab = factories.make_organisation("lab", admin=users["ada"])
        for _ in range(3):
            for name in ("ada", "bob", "eve"):
                ask(users[name], output_namespace=lab)
            ask(users["max"])
        worker, whose = show("w", CPU), []
        for _ in range(6):
            job = Job.objects.get(pk=took(worker))
            whose.append(job.created_by.username)
            lease.fail(job_id=job.pk, attempt=1, error={"message": "over"})
        assert [name == "max" for name in whose] in ([True, False] * 3, [False, True] * 3)
        assert sorted(name for name in whose if name != "max") == ["ada", "bob", "eve"]

    def test_many_namespaces_give_no_more_turns(self, users):
        places = [factories.make_organisation(f"org{n}", admin=users["ada"]) for n in range(5)]
        for place in places:
            ask(users["ada"], output_namespace=place)
        ask(users["bob"])
        worker = show("w", CPU)
        assert {Job.objects.get(pk=took(worker)).created_by.username for _ in range(2)} == {"ada", "bob"}


class TestPriorities:
    def test_they_order_a_user_s_own_jobs_in_any_namespace(self, users):
        lab = factories.make_organisation("lab", admin=users["ada"])
        jobs = [ask(users["ada"], priority=one) for one in (Priority.NORMAL, Priority.LOW)]
        jobs += [ask(users["ada"], priority=one, output_namespace=lab) for one in (Priority.HIGH, Priority.NORMAL)]
        worker = show("w", CPU)
        assert [took(worker) for _ in jobs] == [jobs[n].pk for n in (2, 0, 3, 1)]

    def test_a_high_one_passes_nobody_else_s(self, users):
        for _ in range(3):
            ask(users["ada"], priority=Priority.HIGH)
        ask(users["bob"], priority=Priority.LOW)
        worker = show("w", CPU)
        assert {Job.objects.get(pk=took(worker)).created_by.username for _ in range(2)} == {"ada", "bob"}

    def test_an_urgent_one_passes_everybody_s(self, users):
        ask(users["bob"], priority=Priority.HIGH)
        job = ask(users["ada"], priority=Priority.URGENT)
        running = ask(users["ada"])
        Job.objects.filter(pk=running.pk).update(state=State.RUNNING, started_at=timezone.now())
        assert took(show("w", CPU)) == job.pk


def test_jobs_of_an_earlier_release_are_taken_as_well(users, base):
    """Their rows don't say what they need."""
    plain = Job.objects.create(kind="svd", created_by=users["ada"])
    reads = Job.objects.create(kind="evaluate", created_by=users["ada"], base=base)
    without = show("w", CPU)
    assert (took(without), took(without)) == (plain.pk, None)
    assert took(show("v", CPU, bases=[base])) == reads.pk
    reads.refresh_from_db()
    assert reads.need == f"gpu:{base.pk}"
