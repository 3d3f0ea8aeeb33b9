"""A limited token is a stranger outside its limit, at every door and at every later moment; it makes no wider one.

What one route answers to whom stands in the roles matrix; here is what the answers hold, and what jobs do for a token.
"""

from types import SimpleNamespace

import pytest

from hub import access, queries
from hub.access import Viewer
from hub.access.limits import Limit, limit_of
from hub.errors import NotFound, PermissionDenied
from hub.models import Job, Namespace, Repository, State, Visibility
from hub.services import tokens
from hub.services.jobs import lease, queue
from tests.attack.test_access_lost import save, saving
from tests.hub import factories
from tests.hub.api_client import Api, problem
from tests.hub.every_kind import FINE, asked, make_lab
from tests.hub.route_rules import API_ROWS
from tests.hub.test_routes import address, make_world
from workers.runner import run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
EVERYTHING = ["read", "write", "admin"]
MERGE = {"kind": "average", "recipe": {}}


@pytest.fixture
def places(people, base):
    """Two organisations of one owner: private lab/a, lab/b and den/c, public lab/shown; and tokens limited to each."""
    den = factories.make_organisation("den", admin=people.owner)
    where = {"a": people.lab, "b": people.lab, "c": den}
    for seed, (name, namespace) in enumerate(where.items()):
        hidden = {"base": base, "namespace": namespace, "seed": seed, "visibility": Visibility.PRIVATE}
        factories.make_version(people.owner, name, **hidden)
    factories.make_version(people.owner, "shown", base=base, namespace=people.lab, seed=9)

    def token(scopes=EVERYTHING, **limit: str) -> Api:
        return Api(secret=tokens.create_token(actor=people.owner, name="t", scopes=scopes, **limit)[1])

    return SimpleNamespace(owner=people.owner, lab=people.lab, den=den, token=token)


def names_in(answer) -> set[str]:
    return {name for name in ("lab/a", "lab/b", "den/c", "lab/shown") if name in answer.content.decode()}


@pytest.mark.parametrize(
    ("limit", "seen"),
    [
        ({}, {"lab/a", "lab/b", "den/c", "lab/shown"}),
        ({"namespace": "lab"}, {"lab/a", "lab/b", "lab/shown"}),
        ({"namespace": "DEN"}, {"den/c", "lab/shown"}),
        ({"repository": "Lab/A"}, {"lab/a", "lab/shown"}),
        ({"repository": "lab/shown"}, {"lab/shown"}),
    ],
)
def test_a_token_sees_its_limit_and_what_is_public(places, limit, seen):
    api = places.token(**limit)
    assert names_in(api.get("/repositories?limit=50")) == seen
    for name in ("lab/a", "lab/b", "den/c", "lab/shown"):
        status = 200 if name in seen else 404
        assert api.get(f"/repositories/{name}").status_code == status
        assert api.get(f"/repositories/{name}/files/v1/adapter_config.json").status_code == status
    adapters = dict(queries.bases(Viewer(user=places.owner, limit=_limit(api))).values_list("name", "adapters"))
    assert adapters["pico/llama"] == len(seen)


def _limit(api: Api) -> Limit | None:
    return limit_of(tokens.token_user(api.headers["Authorization"].split()[1]))


def test_what_a_limited_token_may_not_change_is_refused_with_its_limit(places):
    api = places.token(namespace="den")
    refusal = problem(api("PATCH", "/repositories/lab/shown", {"description": "d"}), 403, "token_limit")
    assert "limited to den" in refusal["detail"]
    assert api("PATCH", "/repositories/lab/a", {"description": "d"}).status_code == 404
    assert api("PATCH", "/repositories/den/c", {"description": "d"}).status_code == 200
    # The advice of the refusal about accounts is to use a token without a limit.
    refusal = problem(api.post("/organisations", {"name": "guild"}), 403, "token_limit")
    assert "Use a token without a limit" in refusal["detail"]
    assert places.token().post("/organisations", {"name": "guild"}).status_code == 201


def test_no_read_tells_a_limited_token_of_another_repository(store):
    """Every GET of the API with a token of `lab/other`: none names `lab/secret`, which the world is full of."""
    world = make_world()
    secret = tokens.create_token(actor=world.owner, name="t", scopes=EVERYTHING, repository="lab/other")[1]
    api = Api(secret=secret)
    for rule in API_ROWS:
        if rule.method == "GET" and rule.route != "api/v1/schema":
            url = address(rule.route, rule.to, world) + (f"?{rule.query}" if rule.query else "")
            answer = api.http.get(url, headers=api.headers)
            assert answer.status_code >= 400 or b"lab/secret" not in answer.content, url


def test_a_token_for_downloads_fetches_files_and_nothing_else(places):
    api = places.token(["download"], repository="lab/a")
    assert api.get("/repositories/lab/a/files/v1").status_code == 200
    assert api.get("/repositories/lab/a/files/v1/adapter_config.json").status_code == 200
    assert api.get("/repositories/lab/shown/files/v1/adapter_config.json").status_code == 200
    for hidden in ("lab/b", "den/c"):
        assert api.get(f"/repositories/{hidden}/files/v1/adapter_config.json").status_code == 404
    assert api.get("/repositories/lab/a").status_code == 403
    me = api.get("/me").json()
    assert (me["email"], me["namespaces"], me["token"]["repository"]) == ("", [], "lab/a")
    viewer = Viewer(user=places.owner, scopes=frozenset({"download"}))
    assert not Repository.objects.filter(access.visible(viewer), visibility=Visibility.PRIVATE).exists()
    with pytest.raises(NotFound):
        access.repository(viewer, "lab", "a")


def test_me_and_lists_show_the_limit(places):
    for limit in ({"namespace": "lab"}, {"repository": "lab/a"}):
        told = places.token(**limit).get("/me").json()
        shown = {name: told["token"][name] for name in ("namespace", "repository") if told["token"][name]}
        assert shown == limit and [row["name"] for row in told["namespaces"]] == ["lab"]
    listed = places.token().get("/tokens").json()["results"]
    assert [row["repository"] for row in listed] == [None, "lab/a", None]
    places.lab.memberships.filter(user=places.owner).delete()
    listed = places.token().get("/tokens").json()["results"]
    assert listed[2]["repository"] == "(hidden)", "It may have another name by now."


@pytest.mark.parametrize(
    ("own", "asked", "status"),
    [
        ({"namespace": "lab"}, {}, 403),
        ({"namespace": "lab"}, {"namespace": "den"}, 403),
        ({"namespace": "lab"}, {"repository": "den/c"}, 404),
        ({"namespace": "lab"}, {"repository": "lab/shown"}, 201),
        ({"namespace": "lab"}, {"namespace": "lab"}, 201),
        ({"repository": "lab/a"}, {"namespace": "lab"}, 403),
        ({"repository": "lab/a"}, {"repository": "lab/shown"}, 403),
        ({"repository": "lab/a"}, {"repository": "lab/a"}, 201),
        ({}, {"namespace": "lab", "repository": "lab/a"}, 422),
        ({}, {"namespace": "no-such"}, 404),
        ({}, {"repository": "lab"}, 422),
    ],
)
def test_a_token_makes_none_that_is_wider(places, own, asked, status):
    made = places.token(**own).post("/tokens", {"name": "x", "scopes": ["read"], **asked})
    assert made.status_code == status, made.content


def test_a_namespace_one_does_not_belong_to_is_no_limit(places, people):
    answer = Api(people.stranger).post("/tokens", {"name": "x", "namespace": "lab"})
    assert answer.status_code == 404


def test_no_scope_is_gained_by_making_a_token(places):
    viewer = Viewer(user=places.owner, scopes=frozenset({"write"}))
    with pytest.raises(PermissionDenied):
        tokens.create_token(actor=viewer, name="x", scopes=["admin"])
    assert tokens.create_token(actor=viewer, name="x", scopes=["read", "download"])


def test_a_limited_administrator_of_the_site_is_none(places):
    places.owner.is_staff = True
    every = {"user": places.owner, "scopes": frozenset(EVERYTHING)}
    assert Viewer(**every).is_site_admin
    limited = Viewer(**every, limit=Limit(namespace=places.lab.pk, name="lab"))
    assert not limited.is_site_admin
    with pytest.raises(PermissionDenied, match="limited to lab"):
        access.require_site_admin(limited)


@pytest.mark.parametrize("limit", [{"repository": "lab/empty"}, {"namespace": "guild"}])
def test_a_token_whose_limit_is_gone_is_dead(places, limit):
    """For good, which is more than the trash."""
    factories.make_organisation("guild", admin=places.owner)
    factories.make_repository(places.owner, "empty", namespace=places.lab)
    api = places.token(**limit)
    assert api.get("/me").status_code == 200
    Repository.objects.get(name="empty").delete()
    Namespace.objects.get(name="guild").delete()
    assert api.get("/me").status_code == 401


def test_in_the_trash_it_sees_nothing_private_and_may_restore(places):
    api = places.token(repository="lab/a")
    assert api.delete("/repositories/lab/a").status_code == 204
    assert api.get("/repositories/lab/a").status_code == 404
    assert names_in(api.get("/trash")) == {"lab/a"}
    assert api.post("/repositories/lab/a/restore").status_code == 200


def test_a_limit_follows_its_repository(places):
    """To another name and another namespace: a token of the repository goes along, one of the namespace does not."""
    limits = ({"repository": "lab/a"}, {"namespace": "lab"}, {"namespace": "den"})
    of_it, of_lab, of_den = (places.token(**limit) for limit in limits)
    Repository.objects.filter(name="a").update(namespace=places.den, name="moved")
    assert [api.get("/repositories/den/moved").status_code for api in (of_it, of_lab, of_den)] == [200, 404, 200]
    places.den.memberships.filter(user=places.owner).delete()
    assert of_it.get("/repositories/den/moved").status_code == 404


# Jobs that a limited token asks for.


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
        assert access.viewer_of_job(job).limit == _limit(api)


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
