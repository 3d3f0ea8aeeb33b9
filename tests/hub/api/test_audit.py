"""The audit log over REST: for admins, page by page, without what they may not see."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub.models import Event, Job, Role
from hub.names import worker_name
from hub.services import accounts
from hub.services.evaluations import record_evaluation
from hub.services.jobs import lease
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db
PLACES = ["/namespaces/lab/events", "/repositories/lab/sentiment/events"]
SHAPE = {"id", "created_at", "actor", "verb", "object", "namespace", "repository", "detail"}


@pytest.mark.parametrize("place", PLACES)
def test_for_the_owner_and_nobody_else(people, repository, place):
    answer = Api(people.owner).get(place)
    assert answer.status_code == 200, answer.content
    first = answer.json()["results"][0]
    assert set(first) == SHAPE
    assert (first["verb"], first["actor"], first["object"]) == ("repository.create", "owner", "lab/sentiment")
    assert (first["namespace"], first["repository"]) == ("lab", "lab/sentiment")
    assert first["detail"] == {"kind": "adapter", "visibility": "public"}
    for user in (people.member, people.reader, people.stranger):
        problem(Api(user).get(place), 403, "permission_denied")
    problem(Api().get(place), 401, "not_signed_in")
    problem(Api(people.owner, ["read", "write"]).get(place), 403, "token_scope")


def test_a_private_repository_s_are_not_there_for_strangers(people):
    factories.make_repository(people.owner, "secret", namespace=people.lab, visibility="private")
    place = "/repositories/lab/secret/events"
    assert Api(people.owner).get(place).status_code == 200
    for user in (people.member, people.reader):
        problem(Api(user).get(place), 403, "permission_denied")
    for user in (people.stranger, None):
        problem(Api(user).get(place), 404, "not_found")


def test_each_place_has_its_own(people, repository):
    factories.make_repository(people.owner, "other", namespace=people.lab)
    factories.make_repository(people.owner, "elsewhere")
    objects = [row["object"] for row in Api(people.owner).get("/namespaces/lab/events").json()["results"]]
    assert objects == ["lab/other", "lab/sentiment", "lab", "lab", "lab"]
    (row,) = Api(people.owner).get("/repositories/lab/other/events").json()["results"]
    assert row["object"] == "lab/other"


def test_pages_follow_each_other(people, repository):
    api = Api(people.owner)
    whole = api.get("/namespaces/lab/events").json()["results"]
    url, found = "/namespaces/lab/events?limit=2", []
    while url:
        body = api.get(url).json()
        found += body["results"]
        url = body["next"]
    assert found == whole
    problem(api.get("/namespaces/lab/events?cursor=x"), 422, "invalid")
    problem(api.get("/namespaces/lab/events?limit=0"), 422, "invalid")


def test_a_job_shows_who_asked_and_how_it_ended(people, base):
    pair = [factories.make_version(people.owner, name, seed=seed) for seed, name in enumerate("ab")]
    merge = {"kind": "svd", "recipe": {"rank": 2}, "inputs": pair, "output": ("lab", "both")}
    job = asking.queue_job(actor=people.member, **merge)
    lease.claim(job.pk, worker="w-1")
    lease.fail(job_id=job.pk, attempt=1, error={"code": "rank.too_high", "message": "…"})
    end, begin = Api(people.owner).get("/namespaces/lab/events").json()["results"][:2]
    assert (begin["verb"], begin["actor"], begin["object"]) == ("job.queue", "member", f"job {job.pk}")
    assert (end["verb"], end["actor"], end["object"]) == ("job.failed", None, f"job {job.pk}")
    assert (end["detail"]["code"], end["detail"]["worker"]) == ("rank.too_high", worker_name("w-1"))


def test_another_s_job_and_a_hidden_dataset_are_not_named(people, repository, base):
    """A stranger measures a public adapter of the lab on rows of their own: the lab learns neither who nor on what."""
    adapter = factories.publish(people.owner, repository, factories.adapter_files()).version
    rows = factories.make_repository(people.stranger, "diary", kind="dataset", visibility="private")
    diary = factories.publish(people.stranger, rows, factories.dataset_files()).version
    job = asking.queue_job(actor=people.stranger, kind="evaluate", recipe={}, inputs=[adapter], datasets=[diary])
    claimed = lease.claim(job.pk, worker="w-1")
    lease.advance(job_id=job.pk, attempt=1, state="running")
    lease.advance(job_id=job.pk, attempt=1, state="saving")
    measured = {"metrics": {"exact": 1.0}, "rows": 1, "seconds": 1.0, "device": "cpu", "environment": {}}
    record_evaluation(job=claimed, attempt=1, **measured)
    for place in PLACES:
        answer = Api(people.owner).get(place)
        assert b"diary" not in answer.content and b"stranger" not in answer.content
        shown = [(row["verb"], row["object"], row["actor"], row["detail"]) for row in answer.json()["results"]]
        assert shown[0] == ("evaluate", "lab/sentiment@v1", None, {})
        assert not [verb for verb, *_ in shown if verb.startswith("job.")]
    accounts.set_role(actor=people.stranger, namespace=people.stranger.namespace, user=people.owner, role=Role.READER)
    row = Api(people.owner).get(PLACES[1]).json()["results"][0]
    assert (row["actor"], row["detail"]["dataset"]) == ("stranger", "datasets/stranger/diary@v1")


def test_a_page_costs_the_same_however_long_it_is(people, repository, base):
    pair = [factories.make_version(people.owner, name, seed=seed) for seed, name in enumerate("ab")]

    def cost(jobs: int) -> int:
        for number in range(jobs):
            asking.queue_job(
                actor=people.owner, kind="svd", recipe={"rank": 2}, inputs=pair, output=("lab", f"n{jobs}-{number}")
            )
        Event.objects.create(verb="evaluate", object="x", detail={"dataset": "a/b@v1"}, namespace=people.lab)
        api = Api(people.owner)
        with CaptureQueriesContext(connection) as found:
            assert len(api.get("/namespaces/lab/events?limit=200").json()["results"]) > jobs
        return len(found)

    assert cost(1) == cost(8)
    assert Job.objects.count() == 9
