"""Job pages: live where there is JavaScript, reloading where there is none, and silent about what may not be seen."""

import pytest
from django.test import Client
from django.utils import timezone

from hub.models import Job, JobLog, State, WorkerNode
from hub.names import worker_name
from tests.hub import asking, factories

pytestmark = pytest.mark.django_db


def signed_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def job(people, base) -> Job:
    """A merge of `lab/a` and the owner's private `owner/hush` into `lab/out`."""
    first = factories.make_version(people.owner, "a", namespace=people.lab)
    hush = factories.make_version(people.owner, "hush", visibility="private", seed=1)
    asked = {"kind": "lego", "recipe": {"rank": 2}, "inputs": [first, hush], "output": ("lab", "out")}
    made = asking.queue_job(actor=people.owner, **asked)
    JobLog.objects.create(job=made, attempt=0, text="Reading owner/hush@v1 <b>now</b>")
    return made


def test_a_running_job_follows_its_events_and_reloads_without_javascript(people, job):
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING, progress=0.25, message="Clustered 1 of 4")
    text = signed_in(people.owner).get(f"/jobs/{job.pk}").content.decode()
    assert f'data-events="/api/v1/jobs/{job.pk}/events"' in text
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in text
    assert 'value="0.2500"' in text
    assert "Clustered 1 of 4" in text
    assert "&lt;b&gt;now" in text


def test_a_finished_job_stays_still_and_links_its_result(people, job):
    result = factories.make_version(people.owner, "out", namespace=people.lab, seed=4)
    Job.objects.filter(pk=job.pk).update(state=State.DONE, result=result)
    text = signed_in(people.owner).get(f"/jobs/{job.pk}").content.decode()
    assert "http-equiv" not in text
    assert "job.js" not in text
    assert "lab/out@v1" in text
    assert f"/jobs/{job.pk}/cancel" not in text


def test_who_started_a_job_is_named(people, job):
    client = signed_in(people.owner)
    name = job.created_by.username
    assert f"<dt>By</dt><dd>{name}</dd>" in client.get(f"/jobs/{job.pk}").content.decode()
    assert f"<td>{name}</td>" in client.get("/jobs").content.decode()
    Job.objects.update(created_by=None)
    assert "a deleted account" in client.get(f"/jobs/{job.pk}").content.decode()


def test_inputs_one_may_not_see_are_named_nowhere(people, job):
    Job.objects.filter(pk=job.pk).update(
        state=State.FAILED, message="owner/hush@v1 is gone", error={"code": "x", "message": "owner/hush@v1: bad"}
    )
    for address in (f"/jobs/{job.pk}", "/jobs"):
        assert "hush" in signed_in(people.owner).get(address).content.decode()
        assert "hush" not in signed_in(people.reader).get(address).content.decode()


def test_running_again_leaves_out_what_may_not_be_seen(people, job):
    reader = signed_in(people.reader)
    reader.post(f"/jobs/{job.pk}/again")
    assert reader.session["basket"] == ["lab/a@v1"]


def test_a_waiting_job_says_what_it_waits_for(people, job):
    assert "No running worker can take" in signed_in(people.owner).get(f"/jobs/{job.pk}").content.decode()


def test_cancel_and_retry_and_what_comes_too_late(people, job):
    owner = signed_in(people.owner)
    owner.post(f"/jobs/{job.pk}/cancel")
    assert Job.objects.get().state == State.CANCELLED
    owner.post(f"/jobs/{job.pk}/retry")
    assert Job.objects.get().state == State.QUEUED
    Job.objects.update(state=State.SAVING)
    response = owner.post(f"/jobs/{job.pk}/cancel", follow=True)
    assert "too late to cancel" in response.content.decode()
    assert Job.objects.get().state == State.SAVING


def test_the_list_filters_by_state(people, job):
    owner = signed_in(people.owner)
    assert len(owner.get("/jobs?state=queued").context["jobs"]) == 1
    assert owner.get("/jobs?state=done").context["jobs"] == []
    assert owner.get("/jobs?state=sleeping").status_code == 422
    assert signed_in(people.stranger).get("/jobs").context["jobs"] == []


def test_workers_show_device_bases_and_whether_they_live(people, base):
    now = timezone.now()
    common = {"queues": ["cpu"], "device": "cpu", "bases": [base.pk], "started_at": now}
    WorkerNode.objects.create(name="fresh", seen_at=now, trouble="Stuck: it left an <id> waiting", **common)
    WorkerNode.objects.create(name="stale", seen_at=now - timezone.timedelta(hours=2), **common)
    response = signed_in(people.stranger).get("/workers")
    assert [(row["name"], row["alive"], row["host"]) for row in response.context["workers"]] == [
        (worker_name("fresh"), True, None),
        (worker_name("stale"), False, None),
    ]
    assert "pico/llama" in response.content.decode()
    assert "Stuck: it left an &lt;id&gt; waiting" in response.content.decode()
