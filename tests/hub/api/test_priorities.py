"""Priorities as they are asked for: over REST, on the pages and by administrators; what is refused to whom."""

import pytest
from django.test import Client

from hub.models import Event, Job, State
from hub.services.tokens import create_token
from tests.hub import factories
from tests.hub.api_client import Api

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


@pytest.fixture
def pair(people, base):
    return [factories.make_version(people.owner, name, base=base, seed=n) for n, name in enumerate(("one", "two"))]


@pytest.fixture
def body(pair):
    return {"kind": "svd", "recipe": {"rank": 2}, "inputs": [str(version) for version in pair], "output": "owner/both"}


@pytest.fixture
def job(people, body):
    return Job.objects.get(pk=Api(people.owner).post("/jobs", body).json()["id"])


@pytest.fixture
def site_admin(people):
    return factories.make_user("root", is_staff=True)


@pytest.mark.parametrize("word", ["low", "normal", "high"])
def test_a_job_begins_with_the_priority_that_was_asked_for(people, body, word):
    answer = Api(people.owner).post("/jobs", body | {"priority": word})
    assert (answer.status_code, answer.json()["priority"]) == (201, word)
    assert Api(people.owner).get(f"/jobs/{answer.json()['id']}").json()["priority"] == word


@pytest.mark.parametrize("word", ["urgent", "now", ""])
def test_the_dry_run_and_the_start_refuse_the_same(people, body, word):
    checked = Api(people.owner).post("/jobs/check", body | {"priority": word}).json()
    started = Api(people.owner).post("/jobs", body | {"priority": word})
    assert started.status_code == 422 and not Job.objects.exists()
    if word:
        assert [problem["code"] for problem in checked["problems"]] == ["job.priority"]
        assert (started.json()["code"], started.json()["field"]) == ("job.priority", "priority")


def test_an_owner_changes_it_while_the_job_waits(people, job):
    api = Api(people.owner)
    assert api.post(f"/jobs/{job.pk}/priority", {"priority": "high"}).json()["priority"] == "high"
    assert api.post(f"/jobs/{job.pk}/priority", {"priority": "urgent"}).json()["code"] == "job.priority"
    Job.objects.filter(pk=job.pk).update(state=State.RUNNING)
    assert api.post(f"/jobs/{job.pk}/priority", {"priority": "low"}).status_code == 409
    job.refresh_from_db()
    assert job.get_priority_display() == "high"
    assert Event.objects.filter(verb="job.priority", actor=people.owner).count() == 1


def test_a_stranger_sees_no_such_job(people, job):
    assert Api(people.stranger).post(f"/jobs/{job.pk}/priority", {"priority": "low"}).status_code == 404


def test_an_administrator_makes_it_urgent_and_its_owner_can_t_undo_that(people, job, site_admin):
    root = Api(site_admin)
    answer = root.post(f"/admin/jobs/{job.pk}/priority", {"priority": "urgent", "reason": "a release"})
    assert (answer.status_code, answer.json()["priority"]) == (200, "urgent")
    assert Api(people.owner).post(f"/jobs/{job.pk}/priority", {"priority": "low"}).json()["code"] == "job.priority"
    event = Event.objects.get(verb="admin.job_priority")
    assert (event.actor, event.detail["reason"], event.detail["priority"]) == (site_admin, "a release", "urgent")


def test_an_urgent_job_is_still_its_owner_s_when_it_is_claimed_and_retried(people, job, site_admin):
    """It is prepared again for its owner, who might not have asked for that."""
    from hub.services.jobs import queue
    from hub.services.jobs.recheck import recheck

    Job.objects.filter(pk=job.pk).update(priority=20)
    job.refresh_from_db()
    recheck(job)
    queue.cancel_job(actor=people.owner, job=job)
    assert queue.retry_job(actor=people.owner, job=job).get_priority_display() == "urgent"


def test_a_priority_of_a_later_release_stops_no_job(people, job):
    from hub.services.jobs.recheck import recheck

    Job.objects.filter(pk=job.pk).update(priority=15)
    job.refresh_from_db()
    recheck(job)
    assert Api(people.owner).get(f"/jobs/{job.pk}").json()["priority"] == "15"


def test_a_limited_token_of_an_administrator_makes_nothing_urgent(site_admin, job, people):
    secret = create_token(actor=site_admin, name="little", scopes=["write"])[1]
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    address = f"/api/v1/admin/jobs/{job.pk}/priority"
    assert client.post(address, {"priority": "urgent"}, content_type="application/json").status_code in (403, 404)
    job.refresh_from_db()
    assert job.get_priority_display() == "normal"


def test_the_pages_do_the_same(people, job, site_admin):
    owner, root = Client(), Client()
    owner.force_login(people.owner)
    root.force_login(site_admin)
    assert 'aria-label="Priority among your own jobs"' in owner.get(f"/jobs/{job.pk}").content.decode()
    owner.post(f"/jobs/{job.pk}/priority", {"priority": "low"})
    assert Job.objects.get(pk=job.pk).get_priority_display() == "low"
    owner.post(f"/jobs/{job.pk}/priority", {"priority": "urgent"})
    assert Job.objects.get(pk=job.pk).get_priority_display() == "low"
    assert f'action="/admin/jobs/{job.pk}/priority"' in root.get("/admin/jobs").content.decode()
    root.post(f"/admin/jobs/{job.pk}/priority", {"priority": "urgent"})
    assert Job.objects.get(pk=job.pk).get_priority_display() == "urgent"
