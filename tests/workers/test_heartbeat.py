"""The heartbeat's rarer duties: it asks what upkeep is due once a minute, and sweeps the outbox without the broker."""

import threading
import time
from types import SimpleNamespace

import pytest
from django.db import transaction

from hub import broker
from hub.models import Job, Outbox
from hub.services import outbox
from workers import heartbeat
from workers.attempt import Attempt
from workers.heartbeat import Heartbeat


def test_it_asks_for_upkeep_at_its_start_and_then_rarely(monkeypatch):
    beating, done = Heartbeat(SimpleNamespace()), []
    monkeypatch.setattr(heartbeat, "SECONDS_A_LOOK", 0.001)
    monkeypatch.setattr(beating, "look", lambda: len(done) > 6 and beating.closed.set())
    monkeypatch.setattr(beating, "beat", lambda: None)
    monkeypatch.setattr(beating, "reap", lambda: done.append("reap"))
    monkeypatch.setattr(beating, "keep_up", lambda: done.append("upkeep"))
    monkeypatch.setattr(beating, "sweep", lambda: None)
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=iter(range(10**6, 10**9, 3)).__next__))
    # No database: what a test before this one left of a connection is not touched.
    monkeypatch.setattr(heartbeat, "close_old_connections", lambda: None)
    monkeypatch.setattr(heartbeat.connection, "close", lambda: None)
    beating.run()
    assert done.count("upkeep") < done.count("reap")
    assert done[:2] == ["reap", "upkeep"]


@pytest.mark.django_db(transaction=True)
def test_a_reaper_that_hangs_costs_the_heartbeat_nothing(monkeypatch):
    begun, go_on, rounds = threading.Event(), threading.Event(), []
    monkeypatch.setattr(heartbeat.reaper, "is_due", lambda: True)
    monkeypatch.setattr(heartbeat.reaper, "run_due", lambda: rounds.append(1) or begun.set() or go_on.wait(30))
    beating = Heartbeat(SimpleNamespace())
    for _ in range(3):
        beating.reap()
        assert begun.wait(10), "it goes on while the round hangs"
    go_on.set()
    beating._reaper.join(30)
    assert rounds == [1], "one round at a time"
    beating.reap()
    beating._reaper.join(30)
    assert rounds == [1, 1]


@pytest.mark.parametrize(("need", "soon"), [("gpu:7", True), ("cpu", False), ("", False)])
def test_a_worker_tells_at_once_that_a_base_is_at_work_or_free(need, soon, worker):
    """Jobs are left to the idle worker that has their base in memory, so it must not seem idle."""
    worker.heartbeat._next_beat = 1e12
    with worker.holding(Attempt(Job(pk=1, need=need, kind="svd"))):
        assert (worker.heartbeat._next_beat == 0.0) is soon
        worker.heartbeat._next_beat = 1e12
    assert (worker.heartbeat._next_beat == 0.0) is soon


@pytest.fixture
def wait_for(monkeypatch):
    """A row of the topic `toy`, written while the broker was away; its handler does what the test says."""

    def wait_for(handler) -> Outbox:
        monkeypatch.setattr(outbox, "_handlers", {"toy": handler})
        with transaction.atomic():
            return outbox.put("toy", n=1)

    return wait_for


def finish(beating: Heartbeat) -> None:
    beating._sweeper.join(30)
    assert not beating._sweeper.is_alive()


@pytest.mark.django_db(transaction=True)
def test_it_sends_what_the_broker_never_heard_of(wait_for):
    came = []
    row = wait_for(lambda payload, key: came.append(payload))
    beating = Heartbeat(SimpleNamespace())
    beating.sweep()
    finish(beating)
    row.refresh_from_db()
    assert (came, bool(row.sent_at)) == ([{"n": 1}], True)
    sweeper = beating._sweeper
    beating.sweep()
    assert beating._sweeper is sweeper, "nothing is due: no thread is needed"


@pytest.mark.django_db(transaction=True)
def test_a_slow_receiver_costs_the_heartbeat_nothing(wait_for):
    begun, go_on = threading.Event(), threading.Event()
    wait_for(lambda payload, key: begun.set() or go_on.wait(30))
    beating = Heartbeat(SimpleNamespace())
    before = time.monotonic()
    beating.sweep()
    assert begun.wait(10)
    sweeper = beating._sweeper
    Outbox.objects.create(topic="toy")
    beating.sweep()
    assert beating._sweeper is sweeper, "one sweeper a worker"
    assert time.monotonic() - before < 10
    go_on.set()
    finish(beating)
    assert not Outbox.objects.filter(sent_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_the_task_drains_for_a_few_seconds_only(wait_for, monkeypatch):
    from workers import tasks

    came, woke = [], []
    wait_for(lambda payload, key: came.append(payload))
    monkeypatch.setattr(broker, "drainer_woke", lambda: woke.append(len(came)))
    assert tasks.drain_outbox.name == broker.DRAIN
    tasks.drain_outbox(of_a_later_release=1)
    assert (came, woke) == ([{"n": 1}], [0])
    monkeypatch.setattr(tasks, "SECONDS_A_DRAIN", 0.0)
    with transaction.atomic():
        outbox.put("toy", n=2)
    tasks.drain_outbox()
    assert len(came) == 1
