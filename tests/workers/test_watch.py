"""When a worker calls itself stuck, and when it starts again: only while it is idle and the broker answers."""

from types import SimpleNamespace

import pytest

from hub import broker
from workers.listening import watch as watching
from workers.listening.watch import AWAY, Watch

STUCK = 60


@pytest.fixture
def stage(settings, monkeypatch):
    """A watch over a worker of the test's, with a clock and a broker of its own."""
    settings.WORKER_STUCK_SECONDS = STUCK
    stage = SimpleNamespace(now=1000.0, busy=False, there=set(), ticks=True)
    worker = SimpleNamespace(name="w", queues=["cpu"], is_busy=lambda: stage.busy)
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: stage.now))
    monkeypatch.setattr(broker, "waiting", lambda queues: stage.there)
    stage.watch = Watch(worker)

    def go_on(seconds: int) -> bool:
        replaced = False
        for _ in range(seconds):
            stage.now += 1
            if stage.ticks and not stage.busy:
                stage.watch.tick()
            replaced = stage.watch.look() or replaced
        return replaced

    stage.go_on = go_on
    return stage


@pytest.mark.parametrize("sign", [{"ticks": False}, {"there": {7}}], ids=["silent", "an id waits"])
def test_stuck_after_a_while_and_replaced_after_twice_that(stage, sign):
    assert not stage.go_on(30)
    vars(stage).update(sign)
    assert not stage.go_on(STUCK - 10)
    assert stage.watch.trouble == ""
    assert not stage.go_on(20)
    assert "Stuck" in stage.watch.trouble
    assert stage.go_on(STUCK + 10)


HEALTHY = {
    "idle": {},
    "busy with a long job, and ids wait": {"busy": True, "ticks": False, "there": {7}},
    "the broker away": {"ticks": False, "there": None},
}


@pytest.mark.parametrize("case", HEALTHY)
def test_not_stuck(stage, case):
    vars(stage).update(HEALTHY[case])
    assert not stage.go_on(10 * STUCK)
    assert stage.watch.trouble == (AWAY if case == "the broker away" else "")


def test_the_time_counts_anew_after_a_job_and_after_the_broker_was_away(stage):
    for change in ({"busy": True}, {"there": None}):
        stage.ticks, before = False, dict(vars(stage))
        assert not stage.go_on(STUCK - 10)
        vars(stage).update(change)
        assert not stage.go_on(20)
        vars(stage).update({name: before[name] for name in change})
        assert not stage.go_on(STUCK - 10)
        assert stage.watch.trouble == ""


def test_other_ids_each_time_are_no_sign(stage):
    for number in range(3 * STUCK):
        stage.there = {number}
        assert not stage.go_on(5)
    assert stage.watch.trouble == ""


def test_it_can_be_switched_off(stage, settings):
    settings.WORKER_STUCK_SECONDS, stage.ticks = 0, False
    assert not stage.go_on(1000)
    assert stage.watch.trouble == ""
