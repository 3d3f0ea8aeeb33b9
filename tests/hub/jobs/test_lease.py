"""The fence: every write of a worker names its attempt, and one whose attempt is over changes nothing."""

from datetime import timedelta
from itertools import pairwise

import pytest
from django.utils import timezone

from hub import broker
from hub.models import ALLOWED, FINAL, Job, JobLog, Repository, Revision, State, Version, WorkerNode
from hub.services import worker_nodes
from hub.services.jobs import lease as job_lease
from hub.services.jobs import reaper, turns
from hub.services.jobs.lease import LostLease
from hub.services.jobs.results import keep_shapes, publish_result
from tests.hub import asking, factories

pytestmark = pytest.mark.django_db

NODE = {"device": "cpu", "loaded": [], "environment": {}, "current_job": None}


@pytest.fixture
def sent(monkeypatch):
    """What went to the broker, which then still holds it."""
    messages = []
    monkeypatch.setattr(broker, "send", lambda job, queue: messages.append((job, queue)) or True)
    monkeypatch.setattr(
        broker, "depths", lambda queues: {one: sum(one == queue for _, queue in messages) for one in queues}
    )
    return messages


@pytest.fixture
def job(owner, base):
    pair = [factories.make_version(owner, name, base=base, seed=n) for n, name in enumerate(("one", "two"))]
    return asking.queue_job(actor=owner, kind="svd", recipe={"rank": 2}, inputs=pair, output=("owner", "both"))


def put(job: Job, state: str, attempt: int = 1, *, lease: float = 30, **values) -> dict:
    """Put the row into a state, held by an attempt; that attempt's fence."""
    until = timezone.now() + timedelta(seconds=lease)
    Job.objects.filter(pk=job.pk).update(state=state, attempt=attempt, lease_until=until, worker="w", **values)
    return {"job_id": job.pk, "attempt": attempt}


def row(job: Job) -> dict:
    return Job.objects.filter(pk=job.pk).values().get()


def test_the_table_of_transitions_is_the_design_s():
    assert set(ALLOWED) == set(State)
    assert {state for state, after in ALLOWED.items() if not after - {State.QUEUED}} == FINAL
    assert State.CANCELLED not in ALLOWED[State.SAVING]
    path = [State.QUEUED, State.LOADING, State.RUNNING, State.SAVING, State.DONE]
    for before, after in pairwise(path):
        assert after in ALLOWED[before]


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", [State.RUNNING, State.SAVING])
def test_advance_obeys_the_table(job, before, after):
    fence = put(job, before)
    if after in ALLOWED[before]:
        job_lease.advance(**fence, state=after)
        assert row(job)["state"] == after
    else:
        with pytest.raises(LostLease):
            job_lease.advance(**fence, state=after)
        assert row(job)["state"] == before


@pytest.mark.parametrize("state", State)
def test_only_a_queued_job_can_be_claimed_and_only_once(job, state):
    put(job, state, attempt=4, lease=-1 if state == State.QUEUED else 30)
    claimed = job_lease.claim(job.pk, worker="mine")
    if state != State.QUEUED:
        assert claimed is None
        assert row(job)["state"] == state
        return
    assert (claimed.state, claimed.attempt, claimed.worker) == (State.LOADING, 5, "mine")
    assert claimed.lease_until > timezone.now()
    assert job_lease.claim(job.pk, worker="other") is None
    assert row(job)["worker"] == "mine"


def test_a_claim_of_a_job_that_is_gone_is_nothing():
    assert job_lease.claim(10**9, worker="w") is None


FENCED = {
    "renew": lambda fence: job_lease.renew(**fence),
    "advance": lambda fence: job_lease.advance(**fence, state=State.RUNNING),
    "report_progress": lambda fence: job_lease.report_progress(**fence, fraction=0.5),
    "add_log": lambda fence: job_lease.add_log(**fence, text="I am still here"),
    "finish": lambda fence: job_lease.finish(**fence),
    "fail": lambda fence: job_lease.fail(**fence, error={"code": "x", "message": "y"}),
    "release": lambda fence: job_lease.release(**fence),
}
HOME = {"advance": State.LOADING, "finish": State.SAVING, "release": State.RUNNING}


@pytest.mark.parametrize("verb", FENCED)
@pytest.mark.parametrize("state", [State.LOADING, State.RUNNING, State.SAVING])
def test_a_ghost_of_an_earlier_attempt_changes_nothing(job, sent, verb, state):
    put(job, state, attempt=2)
    before = row(job)
    with pytest.raises(LostLease):
        FENCED[verb]({"job_id": job.pk, "attempt": 1})
    assert row(job) == before
    assert not JobLog.objects.exists()


@pytest.mark.parametrize("verb", FENCED)
@pytest.mark.parametrize("state", [State.QUEUED, *sorted(FINAL)])
def test_an_attempt_that_is_over_changes_nothing(job, sent, verb, state):
    fence = put(job, state)
    before = row(job)
    with pytest.raises(LostLease):
        FENCED[verb](fence)
    assert row(job) == before


@pytest.mark.parametrize("verb", FENCED)
def test_the_living_attempt_may_write(job, sent, verb):
    FENCED[verb](put(job, HOME.get(verb, State.LOADING)))


def test_a_model_s_nul_is_written_nowhere(job, sent):
    """PostgreSQL refuses it as text and as JSON, and the job would be lost with its answer."""
    fence = put(job, State.RUNNING)
    job_lease.add_log(**fence, text="a\0b")
    job_lease.report_progress(**fence, fraction=0.5, message="a\0b", figures={"a\0b": ["a\0b", 2]})
    assert (row(job)["message"], row(job)["figures"]) == ("ab", {"ab": ["ab", 2]})
    job_lease.fail(**fence, error={"code": "transfer.starved", "message": "a\0b", "classes": {"a\0b": 1}})
    assert row(job)["error"] == {"code": "transfer.starved", "message": "ab", "classes": {"ab": 1}}
    assert JobLog.objects.get().text == "ab"


def test_a_ghost_can_t_publish(job, base):
    files = factories.store(factories.adapter_files(rank=2))
    put(job, State.SAVING, attempt=2)
    ghost = Job.objects.get(pk=job.pk)
    ghost.attempt = 1
    parents = [r.version for r in job.inputs.all()]
    counts = Revision.objects.count(), Version.objects.count(), Repository.objects.count()
    done = {"parents": parents, "origin": "merged", "message": "", "report": {}, "environment": {}}
    with pytest.raises(LostLease):
        publish_result(job=ghost, files=files, **done)
    assert (Revision.objects.count(), Version.objects.count(), Repository.objects.count()) == counts
    assert row(job)["state"] == State.SAVING
    ghost.attempt = 2
    assert publish_result(job=ghost, files=files, **done).number == 1
    assert row(job)["state"] == State.DONE
    with pytest.raises(LostLease):
        publish_result(job=ghost, files=files, **done)


def test_a_ghost_can_t_write_shapes(owner):
    base = factories.make_base("pico/new", ready=False)
    job = asking.queue_job(actor=owner, kind="fingerprint", recipe={}, base=base)
    put(job, State.SAVING, attempt=2)
    ghost = Job.objects.get(pk=job.pk)
    ghost.attempt = 1
    with pytest.raises(LostLease):
        keep_shapes(job=ghost, shapes={"a": [1, 2]}, fingerprint="f", parameters=2, environment={})
    base.refresh_from_db()
    assert base.shapes is None


@pytest.mark.parametrize("state", [State.LOADING, State.RUNNING, State.SAVING])
def test_the_reaper_takes_back_what_a_silent_worker_held(job, sent, state, django_capture_on_commit_callbacks):
    fence = put(job, state, lease=-1)
    with django_capture_on_commit_callbacks(execute=True):
        assert reaper.reap() == [job.pk]
    after = row(job)
    assert (after["state"], after["lost"], after["attempt"]) == (State.QUEUED, 1, 1)
    assert sent == [(job.pk, "cpu")]
    assert job_lease.claim(job.pk, worker="other").attempt == 2
    with pytest.raises(LostLease):
        job_lease.advance(**fence, state=State.SAVING)


@pytest.mark.parametrize("state", [State.LOADING, State.RUNNING, State.SAVING])
def test_the_reaper_leaves_what_is_alive(job, sent, state):
    put(job, state, lease=5)
    assert reaper.reap() == []
    assert row(job)["state"] == state


def test_a_job_that_kills_its_workers_fails_in_the_end_and_says_why(job, sent):
    put(job, State.RUNNING, attempt=3, lease=-1, lost=2)
    reaper.reap()
    after = row(job)
    assert (after["state"], after["error"]["code"]) == (State.FAILED, "worker.lost")
    assert "3 times" in after["error"]["message"]
    assert after["finished_at"]


def test_a_stopped_worker_s_job_goes_back_without_counting_as_lost(job, sent, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        job_lease.release(**put(job, State.RUNNING, lost=1))
    after = row(job)
    assert (after["state"], after["lost"], after["worker"]) == (State.QUEUED, 1, "")
    assert sent == [(job.pk, "cpu")]


def test_what_is_being_saved_is_not_released(job, sent):
    with pytest.raises(LostLease):
        job_lease.release(**put(job, State.SAVING))


def test_a_job_that_was_never_delivered_is_sent_by_the_reaper(job, sent, django_capture_on_commit_callbacks):
    assert row(job)["sent_at"] is None
    with django_capture_on_commit_callbacks(execute=True):
        assert reaper.reap() == [job.pk]
    assert sent == [(job.pk, "cpu")]
    assert row(job)["sent_at"]
    with django_capture_on_commit_callbacks(execute=True):
        assert reaper.reap() == []


def test_an_id_that_was_lost_with_its_worker_is_sent_again_but_not_one_that_waits(
    job, sent, django_capture_on_commit_callbacks
):
    long_ago = timezone.now() - timedelta(hours=1)
    Job.objects.update(sent_at=long_ago)
    sent.append((job.pk, "cpu"))
    with django_capture_on_commit_callbacks(execute=True):
        assert reaper.reap() == []
    sent.clear()
    with django_capture_on_commit_callbacks(execute=True):
        assert reaper.reap() == [job.pk]
    assert sent == [(job.pk, "cpu")]


def test_with_the_broker_away_the_reaper_waits(job, monkeypatch, django_capture_on_commit_callbacks):
    monkeypatch.setattr(broker, "depths", lambda queues: None)
    monkeypatch.setattr(broker, "send", lambda *_: pytest.fail("sent"))
    with django_capture_on_commit_callbacks(execute=True):
        assert reaper.reap() == []
    assert row(job)["state"] == State.QUEUED


def test_a_job_is_passed_on_to_a_worker_that_holds_its_base(
    owner, base, dataset, sent, django_capture_on_commit_callbacks
):
    rows = factories.publish(owner, dataset, factories.dataset_files()).version
    job = asking.queue_job(actor=owner, kind="evaluate", recipe={}, datasets=[rows], base=base)
    now, without = timezone.now(), turns.Taker(worker="without", queues=["cpu"], holds=lambda bases: set())
    worker_nodes.report_worker(name="without", queues=["cpu"], bases=[], started_at=now, **NODE)
    with django_capture_on_commit_callbacks(execute=True):
        turns.take(without, hint=job.pk)
    assert sent == []
    worker_nodes.report_worker(name="with", queues=["cpu"], bases=[base.pk], started_at=now, **NODE)
    with django_capture_on_commit_callbacks(execute=True):
        turns.take(without, hint=job.pk)
    assert sent == [(job.pk, "worker.with")]
    assert row(job)["state"] == State.QUEUED


def test_workers_of_yesterday_are_forgotten(sent, monkeypatch, db):
    gone = []
    monkeypatch.setattr(broker, "forget_worker", gone.append)
    for name in ("old", "new"):
        worker_nodes.report_worker(name=name, queues=["cpu"], bases=[], started_at=timezone.now(), **NODE)
    WorkerNode.objects.filter(name="old").update(seen_at=timezone.now() - timedelta(days=2))
    reaper.reap()
    assert gone == ["old"]
    assert list(WorkerNode.objects.values_list("name", flat=True)) == ["new"]
