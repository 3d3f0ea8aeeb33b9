"""One reaper at a time, whose rounds cost the same however many jobs wait, and which wakes all workers, not one."""

import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hub import broker
from hub.models import Job, State, UpkeepTask, User, WorkerNode
from hub.services.jobs import lease, reaper, turns
from tests.hub import factories

LONG_AGO = timedelta(hours=1)


@pytest.fixture
def line(monkeypatch):
    """The broker's queues, and how many ids are in each."""
    found = Counter()
    monkeypatch.setattr(broker, "send", lambda job, queue: found.update([queue]) or True)
    monkeypatch.setattr(broker, "depths", lambda queues: {name: found[name] for name in queues})
    return found


@pytest.fixture
def crowd(db):
    """200 users with five overlooked jobs each, and 100 workers."""
    now = timezone.now()
    User.objects.bulk_create(User(username=f"u{n}", email=f"u{n}@example.org") for n in range(200))
    users = list(User.objects.filter(username__startswith="u"))
    Job.objects.bulk_create(
        Job(kind="svd", need="cpu", created_by=one, sent_at=now - LONG_AGO) for _ in range(5) for one in users
    )
    about = {"device": "cpu", "queues": ["cpu"], "started_at": now, "seen_at": now}
    WorkerNode.objects.bulk_create(WorkerNode(name=f"w{n}", **about) for n in range(100))


def test_a_round_costs_few_queries_with_a_thousand_waiting(crowd, line, django_assert_max_num_queries):
    reaper.run_due()
    Job.objects.update(sent_at=timezone.now() - LONG_AGO)
    line.clear()
    UpkeepTask.objects.update(lease_until=None)
    with django_assert_max_num_queries(10):
        sent = reaper.run_due()
    assert 0 < len(sent) <= reaper.CALLED_AT_ONCE
    assert set(line) == {"cpu"}, "all workers read it: none gets more than its share"


def test_a_claim_costs_few_queries_with_a_thousand_waiting(crowd, line, django_assert_max_num_queries):
    with django_assert_max_num_queries(16):
        assert turns.take(turns.Taker(worker="w0", queues=["cpu"], holds=set))
    with django_assert_max_num_queries(3):
        assert turns.take(turns.Taker(worker="g", queues=["gpu"], holds=set)) is None


def test_waiting_jobs_are_found_by_an_index(crowd):
    """Rows of jobs that are over, which are many, are not looked at."""
    with CaptureQueriesContext(connection) as queries:
        turns.next_job(turns.Taker(worker="w0", queues=["cpu"], holds=set))
        turns.is_overlooked(turns.Taker(worker="w0", queues=["cpu"], holds=set))
    asked = [query["sql"] for query in queries.captured_queries if "hub_job" in query["sql"]]
    assert asked
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
        for sql in asked:
            prefix = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
            cursor.execute(f"{prefix} {sql.replace('%', '%%')}")
            plan = "\n".join(str(row) for row in cursor.fetchall())
            assert "SCAN hub_job'" not in plan and "Seq Scan on hub_job" not in plan, (sql, plan)


def test_a_broker_that_has_enough_gets_no_more(crowd, line):
    for _ in range(20):
        Job.objects.update(sent_at=timezone.now() - LONG_AGO)
        reaper.reap()
    assert line["cpu"] == 100, "a message for each worker, not one for each job"


def test_each_need_is_called_where_it_can_be_met(line, db, base):
    other, user, now = factories.make_base("pico/other"), factories.make_user(), timezone.now()
    about = {"device": "x", "started_at": now, "seen_at": now}
    for name, queues, held in (("a", ["cpu"], [base]), ("b", ["cpu"], [base, other]), ("g", ["cpu", "gpu"], [base])):
        WorkerNode.objects.create(name=name, queues=queues, bases=[one.pk for one in held], **about)
    needs = ("cpu", f"gpu:{base.pk}", f"gpu:{other.pk}", "gpu:999", "gpu:none")
    Job.objects.bulk_create(Job(kind="svd", need=need, created_by=user) for need in needs)
    reaper.reap()
    assert line == {"cpu": 1, "gpu": 1, "worker.b": 1}


def test_of_many_that_died_some_are_taken_back_at_once_and_the_others_next(crowd, line, monkeypatch):
    monkeypatch.setattr(reaper, "TAKEN_BACK_AT_ONCE", 3)
    ids = list(Job.objects.values_list("pk", flat=True)[:5])
    silent = {"state": State.RUNNING, "attempt": 1, "lease_until": timezone.now() - LONG_AGO}
    Job.objects.filter(pk__in=ids).update(**silent)
    reaper.run_due()
    assert Job.objects.filter(state=State.RUNNING).count() == 2
    assert reaper.is_due(), "it goes on without waiting"
    reaper.run_due()
    assert not Job.objects.filter(state=State.RUNNING).exists()
    assert not reaper.is_due()


@pytest.mark.django_db
def test_it_is_due_twice_a_lease(line, settings):
    assert reaper.is_due()
    assert reaper.run_due() == []
    assert not reaper.is_due() and reaper.run_due() is None
    row = UpkeepTask.objects.get(name=reaper.REAPER)
    assert abs((row.lease_until - timezone.now()).total_seconds() - settings.JOB_LEASE_SECONDS / 2) < 3


@pytest.mark.django_db
def test_one_that_died_at_it_is_followed_by_another(line, settings):
    two_leases = timedelta(seconds=2 * settings.JOB_LEASE_SECONDS)
    UpkeepTask.objects.create(name=reaper.REAPER, holder="dead", lease_until=timezone.now() + two_leases)
    assert reaper.run_due() is None
    UpkeepTask.objects.filter(name=reaper.REAPER).update(lease_until=timezone.now() - timedelta(seconds=1))
    assert reaper.run_due() == []


@pytest.mark.django_db(transaction=True)
def test_of_several_at_once_one_reaps_and_leases_are_renewed_meanwhile(line, monkeypatch):
    """A round that hangs holds up nobody but itself."""
    user = factories.make_user()
    job = Job.objects.create(kind="svd", need="cpu", created_by=user)
    assert lease.claim(job.pk, worker="w")
    inside, go_on, rounds = threading.Event(), threading.Event(), []

    def slow():
        rounds.append(threading.current_thread().name)
        inside.set()
        go_on.wait(30)
        return [], False

    monkeypatch.setattr(reaper, "_round", slow)

    def run():
        reaper.run_due()
        connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert inside.wait(30)
    lease.renew(job_id=job.pk, attempt=1)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert len(rounds) == 1
