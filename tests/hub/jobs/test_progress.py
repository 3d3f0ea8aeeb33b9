"""The live stream: in order, resumable, capped, expiring; and its slower picture where Redis is away."""

import threading
import time

import pytest

from hub import broker, progress
from hub.models import Job, State
from tests.hub import asking, factories
from tests.workers.conftest import NOBODY, use_redis
from tests.workers.stage import REDIS, clean_redis


@pytest.fixture
def stream(settings):
    clean_redis()
    use_redis(settings, REDIS)
    yield broker.client()
    use_redis(settings, NOBODY)


@pytest.fixture
def job(owner, base):
    pair = [factories.make_version(owner, name, base=base, seed=n) for n, name in enumerate(("one", "two"))]
    return asking.queue_job(actor=owner, kind="svd", recipe={"rank": 2}, inputs=pair, output=("owner", "both"))


@pytest.mark.services
def test_events_come_in_order_and_a_reader_goes_on_where_it_was(stream):
    progress.publish_progress(1, "state", state="running", attempt=1)
    progress.publish_progress(1, "progress", fraction=0.25, message="A", figures={"loss": 2.5}, attempt=1)
    first = progress.read_progress(1)
    assert [(event, data.get("fraction")) for _, event, data in first] == [("state", None), ("progress", 0.25)]
    assert first[1][2]["figures"] == {"loss": 2.5}
    progress.publish_progress(1, "log", text="B", attempt=1)
    ((_, event, data),) = progress.read_progress(1, first[-1][0])
    assert (event, data["text"]) == ("log", "B")
    assert progress.read_progress(2) == []


@pytest.mark.services
def test_a_reader_waits_for_the_next_event_and_not_longer_than_asked(stream):
    began = time.monotonic()
    assert progress.read_progress(1, block_ms=200) == []
    assert 0.15 < time.monotonic() - began < 2
    threading.Timer(0.3, lambda: progress.publish_progress(1, "log", text="late")).start()
    ((_, _, data),) = progress.read_progress(1, block_ms=5000)
    assert data["text"] == "late"


@pytest.mark.services
def test_a_stream_is_capped_and_expires(stream):
    for number in range(progress.LENGTH + 500):
        progress.publish_progress(1, "progress", fraction=0.0, message=str(number))
    assert stream.xlen("hub:job:1:events") < progress.LENGTH + 200
    assert 0 < stream.ttl("hub:job:1:events") <= progress.SECONDS_KEPT


@pytest.mark.services
@pytest.mark.parametrize("nonsense", ["abc", "1", "1-", "-1", "1-2-3", "$", "٣-٣", "9" * 30 + "-1"])
def test_a_nonsense_last_id_reads_from_the_beginning(stream, nonsense):
    progress.publish_progress(1, "log", text="first")
    assert [data["text"] for _, _, data in progress.read_progress(1, nonsense)] == ["first"]


@pytest.mark.django_db
def test_with_redis_away_the_database_s_picture_is_shown(settings, job):
    use_redis(settings, NOBODY)
    Job.objects.update(state=State.RUNNING, progress=0.5, message="Half")
    ((last_id, event, data),) = progress.read_progress(job.pk, "7-1")
    assert (last_id, event) == ("7-1", "snapshot")
    assert (data["state"], data["fraction"], data["message"]) == ("running", 0.5, "Half")
    assert progress.read_progress(10**9) == []


def test_publishing_with_redis_away_costs_nothing_much(settings):
    use_redis(settings, NOBODY)
    began = time.monotonic()
    for _ in range(1000):
        progress.publish_progress(1, "progress", fraction=0.1)
    assert time.monotonic() - began < 3


@pytest.mark.services
def test_the_broker_knows_which_jobs_still_wait(stream):
    for number in (5, 7):
        assert broker.send(number, "cpu")
    broker.send(9, "worker.w")
    assert broker.waiting({"cpu"}) == {5, 7}
    assert broker.waiting({"cpu", "worker.w", "gpu"}) == {5, 7, 9}
    broker.forget_worker("w")
    assert broker.waiting({"worker.w"}) == set()


def test_with_the_broker_away_sending_says_no_and_waiting_says_unknown(settings):
    use_redis(settings, NOBODY)
    assert broker.send(1, "cpu") is False
    assert broker.waiting({"cpu"}) is None
