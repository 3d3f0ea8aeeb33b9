"""The outbox: written with its cause, sent after it, at least once, whoever dies on the way.

Run on whatever database the tests have; `test_postgres.py` runs this file again on PostgreSQL.
"""

import logging
import threading
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from hub import broker
from hub.models import Namespace, Outbox, OutboxLane
from hub.services import outbox
from tests.hub.test_parallel import at_once

pytestmark = pytest.mark.django_db(transaction=True)


class Killed(BaseException):
    """What ends a process and is never caught."""


class Receiver:
    """The toy topic's far end: what came, and what it answers."""

    def __init__(self) -> None:
        self.came: list[tuple[dict, str]] = []
        self.answers: list[BaseException] = []

    def __call__(self, payload: dict, key: str) -> None:
        self.came.append((payload, key))
        if self.answers:
            raise self.answers.pop(0)


@pytest.fixture(autouse=True)
def woken(monkeypatch) -> list[int]:
    """Who was asked to drain: the number of rows that were committed by then. The topics are this test's own."""
    asked = []
    monkeypatch.setattr(broker, "wake_drainer", lambda: asked.append(Outbox.objects.count()))
    monkeypatch.setattr(outbox, "_handlers", {})
    monkeypatch.setattr(outbox, "_logged", set())
    return asked


@pytest.fixture
def toy() -> Receiver:
    """The receiver of the topic `toy`."""
    return outbox.handles("toy")(Receiver())


def put(lane: str = "", **payload: object) -> Outbox:
    with transaction.atomic():
        return outbox.put("toy", lane=lane, **payload)


def make_due() -> None:
    Outbox.objects.update(next_at=timezone.now())


def test_it_is_written_with_its_cause_and_sent_after_it(toy, woken):
    with transaction.atomic():
        Namespace.objects.create(name="cause")
        row = outbox.put("toy", name="cause")
        assert woken == []
    assert woken == [1]
    assert outbox.drain() == 1
    assert toy.came == [({"name": "cause"}, str(row.key))]
    row.refresh_from_db()
    assert (row.attempts, row.error) == (1, "")
    assert row.sent_at
    assert not outbox.is_due()
    assert outbox.drain() == 0
    assert len(toy.came) == 1


def test_a_cause_that_is_rolled_back_leaves_nothing(toy, woken):
    with transaction.atomic():
        Namespace.objects.create(name="cause")
        outbox.put("toy", name="cause")
        transaction.set_rollback(True)
    assert not Outbox.objects.exists()
    assert not Namespace.objects.filter(name="cause").exists()
    assert woken == []


def test_outside_of_a_transaction_nothing_is_written(toy):
    with pytest.raises(RuntimeError, match="transaction"):
        outbox.put("toy")
    assert not Outbox.objects.exists()


def test_what_fails_is_tried_again_later_and_ever_later(toy, monkeypatch):
    monkeypatch.setattr(outbox.random, "uniform", lambda low, high: high)
    row = put(n=1)
    toy.answers = [OSError("connection refused")] * 3
    for attempt in (1, 2, 3):
        before = timezone.now()
        assert outbox.drain() == 0
        row.refresh_from_db()
        assert (row.attempts, row.sent_at) == (attempt, None)
        assert row.error == "OSError: connection refused"
        wait = (row.next_at - before).total_seconds()
        assert wait == pytest.approx(1.25 * 10 * 2 ** (attempt - 1), abs=3)
        assert outbox.drain() == 0
        assert len(toy.came) == attempt
        make_due()
    assert outbox.drain() == 1
    row.refresh_from_db()
    assert (row.attempts, row.error) == (4, "")
    assert {key for _, key in toy.came} == {str(row.key)}


def test_the_wait_has_an_end_and_some_chance_in_it():
    waits = {outbox._delay(10_000).total_seconds() for _ in range(50)}
    assert len(waits) > 10
    assert min(waits) >= 2700
    assert max(waits) <= 4500


def test_one_that_fails_holds_up_none_behind_it(toy):
    put(n=1), put(n=2)
    toy.answers = [ValueError("no")]
    assert outbox.drain() == 1
    assert [payload["n"] for payload, _ in toy.came] == [1, 2]


@pytest.mark.parametrize("when", ["in the handler", "before the mark"])
def test_a_drainer_that_is_killed_sends_again(toy, monkeypatch, when):
    row = put(n=1)
    with monkeypatch.context() as patch:
        if when == "in the handler":
            toy.answers = [Killed()]
        else:
            patch.setattr(outbox, "_send", lambda row: toy(row.payload, str(row.key)) or _die())
        with pytest.raises(Killed):
            outbox.drain()
    row.refresh_from_db()
    assert (row.attempts, row.sent_at) == (1, None)
    # The dead drainer's lease holds for a while.
    assert not outbox.is_due()
    assert outbox.drain() == 0
    assert row.next_at <= timezone.now() + outbox.LEASE
    make_due()
    assert outbox.drain() == 1
    assert toy.came == [({"n": 1}, str(row.key))] * 2


def _die():
    raise Killed


def test_two_drainers_never_send_one_at_the_same_time(toy):
    for n in range(40):
        put(n=n)
    outcomes = at_once(*[outbox.drain] * 4)
    assert sum(outcomes) == 40
    assert sorted(payload["n"] for payload, _ in toy.came) == list(range(40))
    assert Outbox.objects.filter(sent_at=None).count() == 0


def test_a_slow_receiver_holds_neither_the_row_nor_the_database(woken):
    begun, go_on = threading.Event(), threading.Event()
    outbox.handles("toy")(lambda payload, key: begun.set() or go_on.wait(30))
    put(n=1)

    def meanwhile():
        begun.wait(30)
        try:
            with transaction.atomic():
                Namespace.objects.create(name="meanwhile")
            return outbox.drain()
        finally:
            go_on.set()

    assert at_once(outbox.drain, meanwhile) == [1, 0]
    assert Namespace.objects.filter(name="meanwhile").exists()


def test_one_that_fails_after_its_lease_moves_no_other_drainer_s(toy):
    row = put(n=1)

    def too_late(payload, key):
        Outbox.objects.update(attempts=2, next_at=timezone.now() + timedelta(hours=5))
        raise OSError("too late")

    outbox._handlers["toy"] = too_late
    assert outbox.drain() == 0
    row.refresh_from_db()
    assert row.error == ""
    assert row.next_at > timezone.now() + timedelta(hours=4)


def test_a_topic_that_nobody_handles_waits_and_is_named_once(toy, caplog):
    with transaction.atomic():
        outbox.put("later", n=1)
    put(n=2)
    with caplog.at_level(logging.WARNING):
        assert outbox.drain() == 1
        assert outbox.drain() == 0
    assert sum("'later'" in line for line in caplog.messages) == 1
    waiting = Outbox.objects.get(topic="later")
    assert (waiting.attempts, waiting.sent_at) == (0, None)
    outbox.handles("later")(toy)
    assert outbox.drain() == 1


def test_a_topic_has_one_handler(toy):
    with pytest.raises(ValueError, match="'toy'"):
        outbox.handles("toy")(print)


def test_it_stops_at_its_limit_and_when_its_time_is_over(toy):
    for n in range(5):
        put(n=n)
    assert outbox.drain(limit=2) == 2
    assert outbox.drain(seconds=0) == 0
    assert outbox.drain() == 3


class TestLanes:
    """Rows of users' own receivers: after all others, by turns, and one at a time of a lane."""

    def test_rows_without_a_lane_go_first_and_lanes_take_turns(self, toy):
        for lane, n in (("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5), ("c", 6)):
            put(lane, n=n)
        put(n=7)
        assert outbox.drain() == 7
        assert [payload["n"] for payload, _ in toy.came] == [7, 1, 4, 6, 2, 5, 3]

    def test_whoever_waits_longest_is_next_also_in_the_next_drain(self, toy):
        put("b", n=1), put("a", n=2), put("a", n=3)
        assert outbox.drain(limit=1) == 1
        first = toy.came[0][0]["n"]
        put("b", n=4)
        outbox.drain(limit=1)
        assert {first, toy.came[1][0]["n"]} == {1, 2}

    def test_what_comes_while_a_lane_is_slow_goes_before_its_next(self, toy, woken):
        came = []

        def slow(payload, key):
            came.append(payload["n"])
            if payload["n"] == 1:
                put(n="mail")

        outbox._handlers["toy"] = slow
        put("a", n=1), put("a", n=2)
        outbox.drain()
        assert came == [1, "mail", 2]

    def test_of_one_lane_one_is_sent_at_a_time(self, woken):
        begun, go_on = threading.Event(), threading.Event()
        came = []

        def slow(payload, key):
            came.append(payload["n"])
            if payload["n"] == 1:
                begun.set()
                go_on.wait(30)

        outbox.handles("toy")(slow)
        put("a", n=1), put("a", n=2), put("b", n=3)

        def meanwhile():
            begun.wait(30)
            try:
                return outbox.drain()
            finally:
                go_on.set()

        assert at_once(outbox.drain, meanwhile) == [2, 1]
        assert came == [1, 3, 2]

    def test_many_drainers_send_each_once(self, toy):
        for n in range(40):
            put("abcd"[n % 4], n=n)
        outcomes = at_once(*[outbox.drain] * 4)
        assert all(isinstance(outcome, int) for outcome in outcomes), outcomes
        outbox.drain()
        assert sorted(payload["n"] for payload, _ in toy.came) == list(range(40))

    def test_a_killed_drainer_s_lane_goes_on_after_its_lease(self, toy):
        put("a", n=1), put("a", n=2)
        toy.answers = [Killed()]
        with pytest.raises(Killed):
            outbox.drain()
        assert outbox.drain() == 0
        OutboxLane.objects.update(free_at=timezone.now())
        make_due()
        assert outbox.drain() == 2

    def test_who_fails_after_the_lease_frees_no_other_s_turn(self, toy):
        put("a", n=1)
        later = timezone.now() + timedelta(hours=5)
        outbox._handlers["toy"] = lambda payload, key: OutboxLane.objects.update(free_at=later)
        outbox.drain()
        assert OutboxLane.objects.get().free_at == later

    def test_lanes_without_rows_are_forgotten(self, toy):
        put("a", n=1)
        outbox.drain()
        put("b", n=2)
        OutboxLane.objects.create(name="b")
        outbox.purge()
        assert OutboxLane.objects.count() == 2
        OutboxLane.objects.update(free_at=timezone.now() - timedelta(days=2))
        outbox.purge()
        assert [lane.name for lane in OutboxLane.objects.all()] == ["b"]
        put("a", n=3)
        assert outbox.drain() == 2


def test_what_was_sent_long_ago_is_purged_and_nothing_else(toy):
    old, young, waiting = put(n=1), put(n=2), put(n=3)
    week_ago = timezone.now() - timedelta(days=7, minutes=1)
    Outbox.objects.filter(pk=old.pk).update(sent_at=week_ago)
    Outbox.objects.filter(pk=young.pk).update(sent_at=timezone.now())
    Outbox.objects.filter(pk=waiting.pk).update(created_at=week_ago)
    assert outbox.purge() == 1
    assert set(Outbox.objects.all()) == {young, waiting}
