"""A host whose clock is an hour wrong takes nothing from the living, and holds nothing longer than others would."""

import ast
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone

from hub.models import ChunkStore, Job, Outbox, State, WorkerNode, clock
from hub.queries import live_workers
from hub.services import outbox
from hub.services.arrivals import stores
from hub.services.jobs import lease, reaper
from hub.services.upkeep import leases
from hub.services.worker_nodes import report_worker
from tests.hub import factories

ROOT = Path(__file__).resolve().parents[3]
# Here leases are taken and ended: nothing may ask this process's clock.
COUNTED = (
    "hub/services/jobs/lease.py",
    "hub/services/jobs/reaper.py",
    "hub/services/jobs/turns.py",
    "hub/services/outbox.py",
    "hub/services/worker_nodes.py",
    "hub/services/upkeep/leases.py",
    "hub/services/upkeep/runner.py",
    "hub/services/arrivals/expiry.py",
    "hub/services/arrivals/receiving.py",
    "hub/services/arrivals/stores.py",
    "hub/queries/worker.py",
)
pytestmark = pytest.mark.django_db
NOW = timezone.now


@pytest.fixture(params=[-1, 1], ids=["an hour behind", "an hour ahead"])
def wrong(request, monkeypatch):
    """This process's clock is wrong from now on; the database's is right."""
    shift = timedelta(hours=request.param)

    def go_wrong() -> None:
        monkeypatch.setattr("django.utils.timezone.now", lambda: NOW() + shift)

    # The test's own statements are in one transaction: on PostgreSQL that stops no clock, as on SQLite.
    return go_wrong


@pytest.fixture
def job(db) -> Job:
    """A job that a worker has just claimed."""
    owner = factories.make_user("ada")
    job = Job.objects.create(kind="svd", created_by=owner, recipe={})
    claimed = lease.claim(job.pk, worker="right")
    assert claimed is not None
    return claimed


def test_it_does_not_reap_the_living(job, wrong):
    wrong()
    assert reaper.reap() == []
    assert lease.is_held(job_id=job.pk, attempt=1)


def test_what_it_claims_and_renews_ends_when_others_would_end_it(job, wrong, settings):
    wrong()
    lease.renew(job_id=job.pk, attempt=1)
    job.refresh_from_db()
    left = (job.lease_until - NOW()).total_seconds()
    assert 0 < left <= settings.JOB_LEASE_SECONDS + 1
    lease.advance(job_id=job.pk, attempt=1, state=State.RUNNING)
    job.refresh_from_db()
    assert 0 < (job.lease_until - NOW()).total_seconds() <= settings.JOB_LEASE_SECONDS + 1


def test_it_puts_a_job_off_for_as_long_as_others(job, wrong, settings):
    wrong()
    lease.put_off(job_id=job.pk, attempt=1, fault="A disk is full")
    job.refresh_from_db()
    assert 0 < (job.lease_until - NOW()).total_seconds() <= settings.JOB_LEASE_SECONDS + 1
    assert lease.claim(job.pk, worker="wrong") is None
    Job.objects.filter(pk=job.pk).update(lease_until=NOW() - timedelta(seconds=1))
    assert lease.claim(job.pk, worker="wrong") is not None


def test_it_sees_who_lives_and_is_seen(worker_facts, wrong):
    report_worker(**worker_facts, name="right")
    wrong()
    report_worker(**worker_facts, name="wrong")
    assert [node.name for node in live_workers()] == ["right", "wrong"]
    WorkerNode.objects.update(seen_at=NOW() - timedelta(minutes=30))
    assert list(live_workers()) == []


@pytest.fixture
def worker_facts() -> dict:
    """What a worker says of itself."""
    return {
        "queues": ["cpu"],
        "device": "cpu",
        "bases": [],
        "loaded": [],
        "environment": {},
        "current_job": None,
        "started_at": NOW(),
    }


def test_leases_of_upkeep_keep_it_out_and_end_in_time(wrong):
    with leases.lease("gc") as mine:
        wrong()
        with leases.lease("gc") as other:
            assert mine is not None and other is None
        assert leases.is_held("gc")
    with leases.lease("gc", seconds=600) as held:
        assert held is not None
        row = leases.UpkeepTask.objects.get(name="gc")
        assert 0 < (row.lease_until - NOW()).total_seconds() <= 601


def test_it_sweeps_no_store_that_somebody_sends_to(wrong):
    """Also a closed one is sent to until nothing has come for minutes: by this host or by another."""
    owner = factories.make_user("ada")
    store = stores.open_store(actor=owner, repository=factories.make_repository(owner))
    stores.close(store)
    wrong()
    assert stores.sweep_closed() == 0
    stores.touch(store)
    store.refresh_from_db()
    assert abs((NOW() - store.touched_at).total_seconds()) < 60
    ChunkStore.objects.update(touched_at=NOW() - timedelta(minutes=30), closed_at=NOW() - timedelta(minutes=30))
    assert stores.sweep_closed() == 1


def test_its_side_effects_are_sent_at_once_and_held_for_one_lease(wrong, monkeypatch):
    came = []

    def fail(payload, key):
        came.append(key)
        raise OSError("not now")

    monkeypatch.setattr(outbox, "_handlers", {"toy": fail})
    wrong()
    with transaction.atomic():
        outbox.put("toy", n=1)
    assert outbox.drain() == 0 and len(came) == 1
    row = Outbox.objects.get()
    assert 0 < (row.next_at - NOW()).total_seconds() < 60
    assert outbox.drain() == 0 and len(came) == 1


def test_the_clock_that_is_read_is_the_databases(monkeypatch):
    assert abs((clock.read() - NOW()).total_seconds()) < 5


@pytest.mark.parametrize("path", COUNTED)
def test_leases_are_counted_by_the_databases_clock_alone(path):
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Call):
            said = ast.unparse(node.func)
            assert said not in ("timezone.now", "time.time", "datetime.now"), f"{path}:{node.lineno} asks {said}"
