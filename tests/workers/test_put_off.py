"""A fault that passes by itself puts a job off: it is queued again for later, says why, and nothing of it is lost."""

import errno
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from composition.merging import svd
from hub.models import Job, State, Version
from hub.services.jobs import lease, reaper
from hub.services.jobs import queue as jobs
from hub.storage import blobs
from workers import patience, publishing
from workers.kinds import merge as merging

FULL = OSError(errno.ENOSPC, "No space left on device")


def fail(error):
    def fail(*_, **__):
        raise error

    return fail


WHERE = {
    "reading the inputs": (merging, "adapter_of"),
    "computing": (svd, "svd"),
    "storing the result": (blobs, "add"),
    "publishing": (publishing, "publish_result"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("where", WHERE)
def test_a_full_disk_puts_the_job_off_and_room_again_lets_it_run(where, queue, work, worker, monkeypatch):
    job = queue("svd", rank=2)
    with monkeypatch.context() as patch:
        patch.setattr(*WHERE[where], fail(FULL))
        put_off = work(job)
    assert (put_off.state, put_off.lost, put_off.worker) == (State.QUEUED, 0, "")
    assert put_off.error["code"] == "job.put_off"
    assert "disk is full" in put_off.message and worker.name in put_off.message
    assert put_off.lease_until > timezone.now()
    assert not reaper.overlooked(), "not before its time"
    assert reaper.reap() == []
    Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert [one.pk for one in reaper.overlooked()] == [job.pk]
    done = work(job)
    assert (done.state, done.error, done.lost) == (State.DONE, None, 0)
    assert Version.objects.filter(job=job).count() == 1


@pytest.mark.django_db
def test_it_waits_longer_each_time_and_fails_in_the_end(queue, work, monkeypatch, settings):
    settings.JOB_LEASE_SECONDS = 30
    monkeypatch.setattr(merging, "adapter_of", fail(FULL))
    monkeypatch.setattr(lease, "MOST_PUT_OFF", 7)
    job, waits = queue("svd", rank=2), []
    for _ in range(6):
        Job.objects.update(lease_until=None)
        waits.append(round((work(job).lease_until - timezone.now()).total_seconds() / 30))
    assert waits == [1, 2, 4, 8, 16, 20]
    Job.objects.update(lease_until=None)
    failed = work(job)
    assert (failed.state, failed.error["code"], failed.error["times"]) == (State.FAILED, "job.put_off", 7)
    assert "retry the job" in failed.error["message"]
    monkeypatch.undo()
    again = jobs.retry_job(actor=failed.created_by, job=failed)
    assert (again.state, again.error) == (State.QUEUED, None)
    assert work(job).state == State.DONE


@pytest.mark.django_db
def test_it_can_be_cancelled_while_it_waits(queue, work, monkeypatch):
    monkeypatch.setattr(merging, "adapter_of", fail(FULL))
    job = work(queue("svd", rank=2))
    cancelled = jobs.cancel_job(actor=job.created_by, job=job)
    assert (cancelled.state, cancelled.error) == (State.CANCELLED, None)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("failures", [1, 4, 5])
def test_a_database_that_fails_for_a_moment_costs_no_computing(queue, work, monkeypatch, failures):
    publish, calls, computed = publishing.publish_result, [], []

    def publish_at_last(**given):
        calls.append(1)
        if len(calls) <= failures:
            raise OperationalError("database is locked")
        return publish(**given)

    monkeypatch.setattr(patience, "FIRST_WAIT", 0.01)
    compute = svd.svd
    monkeypatch.setattr(publishing, "publish_result", publish_at_last)
    monkeypatch.setattr(svd, "svd", lambda *args, **kwargs: computed.append(1) or compute(*args, **kwargs))
    job = work(queue("svd", rank=2))
    assert len(computed) == 1
    assert job.state == (State.DONE if failures < 5 else State.QUEUED)
    assert len(calls) == min(failures + 1, 5)


@pytest.mark.django_db(transaction=True)
def test_an_answer_that_never_came_back_publishes_nothing_twice(queue, work, monkeypatch):
    """The transaction is committed, and the connection dies before the worker hears of it."""
    publish, calls = publishing.publish_result, []

    def publish_unheard(**given):
        calls.append(1)
        result = publish(**given)
        if len(calls) == 1:
            connection.close()
            raise OperationalError("server closed the connection unexpectedly")
        return result

    monkeypatch.setattr(publishing, "publish_result", publish_unheard)
    job = work(queue("svd", rank=2))
    assert (job.state, len(calls)) == (State.DONE, 2)
    assert Version.objects.filter(job=job).count() == 1
