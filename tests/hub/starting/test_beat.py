"""The periodic work has one holder at a time, and another goes on where it stops, dies or loses its lease."""

import threading

import pytest
from django.db import OperationalError, connection

from hub.models import UpkeepTask, clock
from hub.services.upkeep import beat
from tests.workers.stage import until

pytestmark = pytest.mark.django_db(transaction=True)


class Process:
    """One `manage.py beat`, as a thread; `worked` counts what it did."""

    def __init__(self, monkeypatch_duties) -> None:
        self.go, self.worked = True, 0
        self.thread = threading.Thread(target=self._run, daemon=True)
        monkeypatch_duties[self.thread] = self
        self.thread.start()

    def _run(self) -> None:
        beat.run(lambda: self.go, seconds=60)
        connection.close()

    def stop(self) -> None:
        self.go = False
        self.thread.join(20)


@pytest.fixture
def start(monkeypatch):
    """`start()` is one more process; its only duty counts how often it was done."""
    processes: dict[threading.Thread, Process] = {}
    monkeypatch.setattr(beat, "SECONDS_A_QUESTION", 0.05)
    monkeypatch.setattr(beat, "SECONDS_A_LOOK", 0.01)

    def duties(go_on):
        mine = processes[threading.current_thread()]

        def count() -> None:
            mine.worked += 1

        return [beat.Duty("count", 0.0, count)]

    monkeypatch.setattr(beat, "duties", duties)
    yield lambda: Process(processes)
    for process in processes.values():
        process.stop()


def test_one_works_and_another_goes_on_when_it_stops(start):
    first = start()
    until(lambda: first.worked > 2, 20)
    second = start()
    before = first.worked
    until(lambda: first.worked > before + 5, 20)
    assert second.worked == 0
    first.stop()
    until(lambda: second.worked > 2, 20)
    done = first.worked
    until(lambda: second.worked > 5, 20)
    assert first.worked == done


def test_the_lease_of_one_that_died_ends(start):
    UpkeepTask.objects.create(name="beat", holder="dead", lease_until=clock.read())
    one = start()
    until(lambda: one.worked > 0, 20)
    assert UpkeepTask.objects.get(name="beat").holder != "dead"


def test_one_whose_lease_was_taken_stands_by(start, monkeypatch):
    monkeypatch.setattr("hub.services.upkeep.leases.Lease.renew", lambda self: _renew(self))
    one = start()
    until(lambda: one.worked > 0, 20)
    UpkeepTask.objects.filter(name="beat").update(holder="other", lease_until="2999-01-01T00:00:00Z")
    until(lambda: _stands(one), 20)


def _renew(lease) -> bool:
    """As a holder that always writes: what the real one does once in a tenth of its time."""
    return UpkeepTask.objects.filter(name=lease.name, holder=lease.holder).exists()


def _stands(process: Process) -> bool:
    before = process.worked
    threading.Event().wait(0.3)
    return process.worked == before


def test_a_duty_runs_once_at_a_time_and_its_fault_ends_nothing(caplog):
    inside, most, go = [], [], threading.Event()

    def act() -> None:
        inside.append(1)
        most.append(len(inside))
        go.wait(5)
        inside.pop()
        raise OperationalError("away")

    duty = beat.Duty("slow", 0.0, act)
    for _ in range(5):
        duty.look()
    go.set()
    duty.join(10)
    duty.look()
    duty.join(10)
    assert most == [1, 1]
    assert "slow could not reach the database" in caplog.text


def test_its_duties_are_those_of_the_site():
    assert [duty.name for duty in beat.duties(lambda: True)] == ["reaper", "outbox", "upkeep"]
