"""Server-sent events of a job: in order, resumed, ended; through the real Valkey, and from the database without one."""

import json
import subprocess
import time

import pytest

from hub import broker, progress
from hub.http import live_events as events
from hub.models import Job, State
from hub.progress import publish_progress
from hub.runtime.valkey import Valkey, free_port
from tests.hub.api_client import Api

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    """An embedded Valkey of our own."""
    server = Valkey(tmp_path_factory.mktemp("data"))
    server.port = free_port("127.0.0.1")
    command = server.command()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 10
    while not server.answers():
        assert time.monotonic() < until
        time.sleep(0.05)
    yield server.url
    process.terminate()
    process.wait()


def use(settings, url: str) -> None:
    settings.REDIS_URL = url
    broker.client.cache_clear()
    progress._away_until = 0.0


@pytest.fixture(params=["valkey", "database"])
def either(request, settings):
    """Both ways in which events come."""
    use(settings, request.getfixturevalue("valkey") if request.param == "valkey" else NOBODY)
    yield request.param
    use(settings, NOBODY)


@pytest.fixture
def live(settings, valkey):
    use(settings, valkey)
    yield
    use(settings, NOBODY)


@pytest.fixture
def job(owner, people) -> Job:
    job = Job.objects.create(kind="lego", created_by=owner, output_namespace=people.lab, output_name="x")
    yield job
    progress.forget(job.pk)


def told(text: str) -> list[dict[str, str]]:
    """The events of a stream, without comments."""
    found = [
        dict(line.split(": ", 1) for line in part.splitlines())
        for part in text.split("\n\n")
        if part[:1] not in ("", ":")
    ]
    return [event for event in found if "event" in event]


def listen(job: Job, last_id: str = "", seconds: float = 0.5) -> str:
    return "".join(events.stream(job.pk, last_id, dict, seconds))


@pytest.mark.django_db
def test_events_come_in_order_and_resume_after_the_last_seen(live, job):
    publish_progress(job.pk, "state", state="running", attempt=1)
    publish_progress(job.pk, "progress", fraction=0.5, message="half", figures={})
    publish_progress(job.pk, "log", text="a line\nand more")
    publish_progress(job.pk, "token", side="with", text="é\n", tokens=1, attempt=1)
    found = told(listen(job))
    assert [event["event"] for event in found] == ["state", "progress", "log", "token"]
    assert json.loads(found[3]["data"]) == {"side": "with", "text": "é\n", "tokens": 1, "attempt": 1}
    assert found[2]["data"] == '{"text": "a line\\nand more"}'
    rest = told(listen(job, found[0]["id"]))
    assert rest == found[1:]
    assert told(listen(job, found[-1]["id"])) == []


@pytest.mark.django_db
def test_a_silent_stream_breathes_and_ends_in_time(either, job, monkeypatch):
    monkeypatch.setattr(events, "HEARTBEAT", 0.2)
    began = time.monotonic()
    text = listen(job, seconds=0.7)
    assert 0.6 < time.monotonic() - began < 3
    assert text.startswith("retry: ")
    if either == "valkey":
        assert text.count(": still here") >= 2


@pytest.mark.django_db
def test_a_stream_of_a_job_that_is_over_ends_at_once_with_its_state(either, job):
    error = {"code": "x", "message": "No."}
    publish_progress(job.pk, "log", text="last words")
    Job.objects.filter(pk=job.pk).update(state=State.FAILED, error=error)
    publish_progress(job.pk, "state", state="failed", attempt=1)
    began = time.monotonic()
    found = told(listen(job, seconds=20))
    assert time.monotonic() - began < 3
    assert (found[-1]["event"], found[-1]["id"]) == ("state", "end")
    assert '"failed"' in found[-1]["data"]
    assert '"No."' in found[-1]["data"]
    if either == "valkey":
        assert found[0]["event"] == "log"


@pytest.mark.django_db
def test_an_earlier_failure_in_the_stream_does_not_end_a_job_that_was_tried_again(live, job):
    publish_progress(job.pk, "state", state="failed", attempt=1)
    publish_progress(job.pk, "state", state="queued", attempt=1)
    assert [event["id"] != "end" for event in told(listen(job))] == [True, True]


@pytest.mark.django_db
@pytest.mark.parametrize("last_id", ["", "nonsense", "1-", "-", "end", "9" * 400 + "-0"])
def test_a_strange_last_event_id_begins_anew(live, job, last_id):
    publish_progress(job.pk, "log", text="first")
    assert [event["event"] for event in told(listen(job, last_id))] == ["log"]


@pytest.mark.django_db
def test_the_route(live, owner, job, monkeypatch):
    monkeypatch.setattr(events.stream, "__defaults__", (0.3,))
    publish_progress(job.pk, "log", text="first")
    answer = Api(owner).get(f"/jobs/{job.pk}/events", Accept="text/event-stream")
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-store"
    (line,) = told(b"".join(answer.streaming_content).decode())
    assert line["data"] == '{"text": "first"}'
    resumed = Api(owner).get(f"/jobs/{job.pk}/events", Last_Event_ID=line["id"])
    assert told(b"".join(resumed.streaming_content).decode()) == []
    Job.objects.filter(pk=job.pk).update(state=State.DONE)
    ended = Api(owner).get(f"/jobs/{job.pk}/events", Last_Event_ID="end")
    assert ended.status_code == 204


@pytest.mark.django_db
def test_names_of_hidden_inputs_are_taken_out(live, job):
    publish_progress(job.pk, "log", text="reading lab/secret@v1")
    text = "".join(events.stream(job.pk, "", lambda data: {**data, "text": "reading (hidden)"}, 0.3))
    assert "secret" not in text
