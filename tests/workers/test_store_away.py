"""A store that is away costs a job time and nothing else: it is waited for, and what was computed is kept."""

import threading

import pytest
from botocore.exceptions import ClientError

from composition.merging import svd
from hub.models import State, Version
from hub.storage import client
from tests.hub.content.test_object_store import sent
from workers import patience, publishing
from workers.kinds import merge as merging


@pytest.fixture(autouse=True)
def quick(monkeypatch, bucket):
    """Waits that a test can wait for."""
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(patience, "LONGEST_WAIT", 0.2)
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.05)


WHERE = {
    "reading the inputs": (merging, "adapter_of"),
    "computing": (svd, "svd"),
    "storing the result": (publishing, "servers_section"),
    "publishing": (publishing, "publish_result"),
}


def away_before(monkeypatch, bucket, where: str, *, for_seconds: float = 1.0, only_first: bool = True) -> list:
    """The store goes away just before a step, and comes back; how often the step began."""
    module, name = WHERE[where]
    step, begun = getattr(module, name), []

    def go_away(*args, **kwargs):
        begun.append(1)
        if len(begun) == 1 or not only_first:
            bucket.proxy.cut()
            threading.Timer(for_seconds, bucket.proxy.resume).start()
        return step(*args, **kwargs)

    monkeypatch.setattr(module, name, go_away)
    return begun


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("where", WHERE)
def test_a_job_waits_for_the_store_and_computes_once(where, queue, work, monkeypatch, bucket):
    job = queue("svd", rank=2)
    computed, compute = [], svd.svd
    monkeypatch.setattr(svd, "svd", lambda *args, **kwargs: computed.append(1) or compute(*args, **kwargs))
    away_before(monkeypatch, bucket, where)
    done = work(job)
    assert (done.state, done.error, done.attempt, done.lost) == (State.DONE, None, 1, 0)
    assert len(computed) == 1
    assert Version.objects.filter(job=job).count() == 1
    assert any("store can't be reached. Waiting for it" in line.text for line in done.log.all())


@pytest.mark.django_db(transaction=True)
def test_an_input_that_breaks_off_is_read_on(queue, work, bucket):
    job = queue("svd", rank=2)
    bucket.proxy.cut_after(1500)  # within the first input's weights
    threading.Timer(0.5, bucket.proxy.resume).start()
    assert work(job).state == State.DONE


@pytest.mark.django_db(transaction=True)
def test_an_attempt_that_is_over_waits_no_longer(queue, work, worker, monkeypatch, bucket):
    job = queue("svd", rank=2)
    read = merging.adapter_of

    def end_soon(*args, **kwargs):
        bucket.proxy.cut()
        threading.Timer(0.5, worker.heartbeat.held.over.set).start()
        return read(*args, **kwargs)

    monkeypatch.setattr(merging, "adapter_of", end_soon)
    job = work(job)
    assert (job.state, job.error["code"]) == (State.QUEUED, "job.put_off")


@pytest.mark.django_db(transaction=True)
def test_each_object_of_a_result_is_sent_once_and_each_input_read_once(queue, pair, work, bucket):
    weights = {one.revisions.get().entries.get(path="adapter_model.safetensors").blob.sha256 for one in pair}
    first, second = queue("svd", rank=2), queue("svd", rank=1, output="again")
    bucket.asked.clear()
    done = work(first)
    assert sent(bucket) == done.result.revisions.get().entries.count()
    assert {key for key in read(bucket) if key in weights} == weights
    bucket.asked.clear()
    assert work(second).state == State.DONE
    assert not weights & set(read(bucket)), "the inputs come from the worker's cache"


def read(bucket) -> list[str]:
    """The digests of the objects that were asked for, each time."""
    return [params["Key"].rpartition("/")[2] for params in bucket.of("GetObject")]


@pytest.mark.django_db(transaction=True)
def test_a_wrong_key_is_not_waited_for(queue, work, monkeypatch, bucket):
    def refused(*_, **__):
        raise ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject")

    job = queue("svd", rank=2)
    monkeypatch.setattr("hub.storage.objects.Objects.open", refused)
    failed = work(job)
    assert (failed.state, failed.error["code"]) == (State.FAILED, "internal")
