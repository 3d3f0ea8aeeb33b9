"""What a limited token's jobs may read, and where their results may go: at the start and at every later step."""

import pytest

from hub import access
from hub.errors import NotFound
from hub.models import Job, Repository, State, Visibility
from hub.services import tokens
from hub.services.jobs import lease, queue
from tests.attack.places import EVERYTHING, limit_behind
from tests.attack.test_access_lost import save, saving
from tests.hub.api_client import Api, problem
from tests.hub.every_kind import FINE, asked, make_lab
from workers.runner import run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
MERGE = {"kind": "average", "recipe": {}}


@pytest.mark.parametrize(
    ("limit", "inputs", "output", "status"),
    [
        ({"namespace": "lab"}, ["lab/a", "lab/b"], "lab/made", 201),
        ({"namespace": "lab"}, ["lab/a", "den/c"], "lab/made", 404),
        ({"namespace": "lab"}, ["lab/a", "lab/b"], "den/made", 403),
        ({"namespace": "lab"}, ["lab/a", "lab/b"], "owner/made", 403),
        ({"namespace": "den"}, ["lab/shown", "den/c"], "den/made", 201),
        ({"repository": "lab/a"}, ["lab/a", "lab/shown"], "lab/a", 201),
        ({"repository": "lab/a"}, ["lab/a", "lab/b"], "lab/a", 404),
        ({"repository": "lab/a"}, ["lab/a", "lab/shown"], "lab/made", 403),
    ],
)
def test_a_job_reads_and_writes_within_the_limit(places, limit, inputs, output, status):
    api, body = places.token(**limit), {**MERGE, "inputs": inputs, "output": output}
    checked, made = api.post("/jobs/check", body), api.post("/jobs", body)
    assert made.status_code == status, made.content
    assert checked.status_code in ((404,) if status == 404 else (200,))
    if status == 403:
        assert [row["code"] for row in checked.json()["problems"]] == ["token_limit"]
    if status == 201:
        job = Job.objects.get(pk=made.json()["id"])
        assert access.viewer_of_job(job).limit == limit_behind(api)


def narrow_job(places) -> Job:
    """A job that a token of `lab` asked for, whose input has gone to `den` since; its owner may still do everything."""
    made = places.token(namespace="lab").post("/jobs", {**MERGE, "inputs": ["lab/a", "lab/b"], "output": "lab/made"})
    job = Job.objects.get(pk=made.json()["id"])
    Repository.objects.filter(name="a").update(namespace=places.den)
    return job


def test_a_job_stays_within_the_limit_it_was_asked_for_under(places, worker):
    """Also when its owner retries it in the browser: a retry is the same job again, for the same token."""
    job = narrow_job(places)
    queue.cancel_job(actor=places.owner, job=job)
    with pytest.raises(NotFound):
        queue.retry_job(actor=places.owner, job=job)
    Job.objects.filter(pk=job.pk).update(state=State.QUEUED)
    run(lease.claim(job.pk, worker=worker.name), worker)
    job.refresh_from_db()
    assert (job.state, job.error["code"]) == (State.FAILED, "not_found")


def test_a_job_is_not_published_outside_its_limit(places):
    api = places.token(namespace="lab")
    made = api.post("/jobs", {**MERGE, "inputs": ["lab/a", "lab/b"], "output": "lab/made"}).json()
    job = saving(Job.objects.get(pk=made["id"]))
    Repository.objects.filter(name="a").update(namespace=places.den)
    with pytest.raises(NotFound):
        save(job)
    Repository.objects.filter(name="a").update(namespace=places.lab)
    save(job)
    assert Job.objects.get(pk=job.pk).state == State.DONE


def test_a_job_of_a_limit_that_is_gone_sees_nothing_private(places):
    job = narrow_job(places)
    Job.objects.filter(pk=job.pk).update(limit_namespace=10**9)
    viewer = access.viewer_of_job(Job.objects.get(pk=job.pk))
    assert viewer.limit.name == "a namespace that is gone"
    assert set(Repository.objects.filter(access.visible(viewer)).values_list("name", flat=True)) == {"shown"}


def test_a_limited_token_watches_its_place_and_acts_on_its_own_jobs(places):
    wide, narrow, other = places.token(), places.token(namespace="lab"), places.token(namespace="den")
    body = {**MERGE, "inputs": ["lab/a", "den/c"], "output": "lab/wide"}
    theirs = wide.post("/jobs", body).json()["id"]
    mine = narrow.post("/jobs", {**MERGE, "inputs": ["lab/a", "lab/b"], "output": "lab/mine"}).json()["id"]
    listed = [row["id"] for row in narrow.get("/jobs").json()["results"]]
    assert listed == [mine, theirs] and other.get("/jobs").json()["results"] == []
    assert narrow.get(f"/jobs/{theirs}").json()["inputs"] == ["lab/a@v1", "(hidden)"]
    assert problem(narrow.post(f"/jobs/{theirs}/cancel"), 403, "token_limit")
    assert narrow.post(f"/jobs/{mine}/cancel").status_code == 200
    assert [other.get(f"/jobs/{pk}").status_code for pk in (mine, theirs)] == [404, 404]


def test_no_kind_of_job_reads_beyond_the_limit(people, base, tmp_path):
    """The lab, all of it private, and a token of the member's own namespace: as for a stranger, nothing is there."""
    lab = make_lab(people, base, tmp_path)
    Repository.objects.update(visibility=Visibility.PRIVATE)
    api = Api(secret=tokens.create_token(actor=lab.member, name="t", scopes=EVERYTHING, namespace="member")[1])
    refused = {"fingerprint": 201, "generate": 422}  # The one reads nothing; a base's newest generator isn't there.
    for kind, body in FINE.items():
        given = body | ({"output": "member/made"} if "output" in body else {})
        answer = api.post("/jobs", given)
        assert answer.status_code == refused.get(kind, 404), answer.content
        assert "lab/gen" not in answer.content.decode()
        assert asked(lab.member, given), "The member themselves may."
