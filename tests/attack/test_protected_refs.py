"""A protected ref is created, moved and deleted by admins only, with a token of the scope admin, whatever the way.

Ways: tags over REST and on the page, pushes to a branch (a new version moves `latest` too), the card, results of jobs.
"""

from types import SimpleNamespace

import pytest
from django.test import Client

from hub.errors import Invalid
from hub.models import Event, Ref, RefMove, State
from hub.services import protections, refs
from hub.services.content import card_edits, publishing, uploads
from hub.services.jobs import lease, report, results
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem
from tests.hub.every_kind import FINE, asked, make_lab

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
ADMIN, WRITE = ("read", "write", "admin"), ("read", "write")


@pytest.fixture
def place(people, base) -> SimpleNamespace:
    """`lab/one` with v1 and v2, `production` at v1."""
    version = factories.make_version(people.owner, "one", base=base, namespace=people.lab)
    repository = version.repository
    first = version.revisions.get()
    refs.set_tag(actor=people.owner, repository=repository, name="production", revision=first)
    second = factories.publish(people.owner, repository, factories.adapter_files(seed=1)).revision
    return SimpleNamespace(repository=repository, first=first, second=second, **vars(people))


def where(place) -> dict[str, str]:
    return dict(Ref.objects.filter(repository=place.repository).values_list("name", "revision__oid"))


def by_tag(api, name="production"):
    return api.put(f"/repositories/lab/one/tags/{name}", {"ref": "v2"})


def by_deletion(api):
    return api.delete("/repositories/lab/one/tags/production")


def by_push(api, branch="main"):
    begun = api.begin("lab/one", {"README.md": b"# New"}, branch=branch)
    if begun.status_code != 201:
        return begun
    api.send(begun.json()["id"], "README.md", b"# New", 0)
    return api.post(f"/uploads/{begun.json()['id']}/commit")


def by_version(api):
    files = factories.adapter_files(seed=7)
    upload = api.begin("lab/one", files).json()
    for row in upload["files"]:
        if row["received"] < row["size"]:
            api.send(upload["id"], row["path"], files[row["path"]], 0)
    return api.post(f"/uploads/{upload['id']}/commit")


REST = {
    "moving a tag": ("production", by_tag),
    "moving it by a pattern": ("prod*", by_tag),
    "making a tag": ("release-*", lambda api: by_tag(api, "release-1")),
    "deleting a tag": ("production", by_deletion),
    "pushing to main": ("main", by_push),
    "moving latest by a new version": ("latest", by_version),
    "beginning a branch": ("team/*", lambda api: by_push(api, "team/a")),
    "anything": ("*", by_push),
}


@pytest.mark.parametrize(("way", "of"), [*((way, "repository") for way in REST), ("anything", "lab")])
def test_over_rest(place, way, of):
    pattern, act = REST[way]
    protections.protect(actor=place.owner, place=getattr(place, of), pattern=pattern)
    before = where(place)
    for user, scopes in ((place.member, ADMIN), (place.owner, WRITE)):
        told = problem(act(Api(user, scopes)), 403, "ref.protected")
        assert pattern in told["detail"] and "ask an admin" in told["detail"]
        assert where(place) == before
    assert act(Api(place.owner, ADMIN)).status_code in (200, 201, 204)
    assert where(place) != before


def test_the_refusal_s_advice_works(place):
    protections.protect(actor=place.owner, place=place.lab, pattern="production")
    problem(by_tag(Api(place.member)), 403, "ref.protected")
    assert by_tag(Api(place.member), "production-2").status_code == 200
    protections.unprotect(actor=place.owner, place=place.lab, pattern="production")
    assert by_tag(Api(place.member)).status_code == 200


def test_a_push_under_way_obeys_a_rule_made_meanwhile(place):
    member = Api(place.member)
    upload = member.begin("lab/one", {"README.md": b"# New"}).json()["id"]
    member.send(upload, "README.md", b"# New", 0)
    protections.protect(actor=place.owner, place=place.repository, pattern="main")
    before = where(place)
    problem(member.post(f"/uploads/{upload}/commit"), 403, "ref.protected")
    assert where(place) == before


@pytest.mark.parametrize("who", ["member", "owner"])
def test_on_pages(place, who):
    for pattern in ("production", "main"):
        protections.protect(actor=place.owner, place=place.repository, pattern=pattern)
    browser = Client(raise_request_exception=False)
    browser.force_login(getattr(place, who))
    may, before = who == "owner", where(place)
    head = {"head": place.second.oid, "text": "# Edited"}
    for path, form in (("tag", {"name": "production", "ref": "v2"}), ("card", head)):
        assert browser.post(f"/lab/one/{path}", form).status_code == (302 if may else 403)
    assert browser.post("/lab/one/tag", {"name": "production", "delete": "1"}).status_code == (302 if may else 403)
    assert (where(place) == before) is not may
    assert ("protected" in browser.get("/lab/one/settings").content.decode()) is may


def test_services_refuse_who_says_nothing(place):
    """A door that doesn't ask for the role moves nothing that is protected."""
    protections.protect(actor=place.owner, place=place.repository, pattern="*")
    one, owner = place.repository, {"actor": place.owner, "repository": place.repository}
    files = {"README.md": b"# New"}
    acts = [
        lambda: refs.set_tag(**owner, name="production", revision=place.second),
        lambda: refs.delete_tag(**owner, name="production"),
        lambda: publishing.publish(**owner, files=factories.store(files)),
        lambda: uploads.begin_upload(**owner, files=factories.promise(files)),
        lambda: card_edits.edit_card(**owner, text="# New", since=place.second.oid),
    ]
    for act in acts:
        with pytest.raises(protections.Protected):
            act()
    assert where(place) == {"main": place.second.oid, "latest": place.second.oid, "production": place.first.oid}
    assert not one.uploads.exists()


@pytest.fixture
def lab(people, base, tmp_path):
    """The organisation with everything that requests of all kinds name."""
    return make_lab(people, base, tmp_path)


def test_no_job_begins_that_would_move_one(lab):
    """Not even an admin's, and not into a new repository, where the rule is the namespace's."""
    for pattern in ("main", "latest"):
        protections.protect(actor=lab.owner, place=lab.lab, pattern=pattern)
        for kind in (kind for kind in FINE if FINE[kind].get("output")):
            told = report.check_job(actor=lab.owner, request=asked(lab.owner, FINE[kind]))
            assert [one["code"] for one in told["problems"]] == ["ref.protected"], kind
        problem(Api(lab.owner).post("/jobs", FINE["lego"]), 403, "ref.protected")
        protections.unprotect(actor=lab.owner, place=lab.lab, pattern=pattern)
    protections.protect(actor=lab.owner, place=lab.lab, pattern="*")
    assert Api(lab.owner).post("/jobs", FINE["discriminator"]).status_code == 201, "it is kept beside its adapter"


def test_a_job_under_way_obeys_a_rule_made_meanwhile(place):
    inputs = [place.first.version, place.second.version]
    made = {"kind": "svd", "recipe": {"rank": 2}, "inputs": inputs, "output": ("lab", "one")}
    job = asking.queue_job(actor=place.owner, **made)
    lease.claim(job.pk, worker="w")
    for state in (State.RUNNING, State.SAVING):
        lease.advance(job_id=job.pk, attempt=1, state=state)
    protections.protect(actor=place.owner, place=place.repository, pattern="main")
    before = where(place)
    job.refresh_from_db()
    told = {"parents": inputs, "origin": "merged", "message": "", "report": {}, "environment": {}}
    with pytest.raises(protections.Protected):
        results.publish_result(job=job, files=factories.store(factories.adapter_files(rank=2)), **told)
    assert where(place) == before
    job.refresh_from_db()
    assert job.state == State.SAVING, "its worker ends it with the refusal"


def test_who_may_make_rules(place):
    path = "/repositories/lab/one/protections/production"
    for api in (Api(place.member), Api(place.reader), Api(place.owner, WRITE)):
        assert api.put(path).status_code == api.delete(path).status_code == 403
    owner = Api(place.owner)
    assert owner.put(path).json()["created_by"] == "owner"
    assert owner.put(path).status_code == 200, "again changes nothing"
    assert owner.put("/namespaces/lab/protections/release-*").json()["namespace"] == "lab"
    listed = Api(place.reader).get("/repositories/lab/one/protections").json()["results"]
    assert [(row["pattern"], row["repository"], row["namespace"]) for row in listed] == [
        ("production", "lab/one", None),
        ("release-*", None, "lab"),
    ]
    problem(owner.delete("/repositories/lab/one/protections/release-*"), 404, "rule_not_found")
    assert owner.delete("/namespaces/lab/protections/release-*").status_code == 204
    verbs = Event.objects.filter(verb__startswith="ref.").order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["ref.protect", "ref.protect", "ref.unprotect"]


def test_patterns_that_name_no_ref_are_refused(people):
    repository = factories.make_repository(people.owner)
    for pattern in ("", "-x", "/x", "a b", "x?", "ä", "x" * 201, "a\n", "[ab]"):
        with pytest.raises(Invalid):
            protections.protect(actor=people.owner, place=repository, pattern=pattern)
    assert protections.protect(actor=people.owner, place=repository, pattern="x" * 200)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("production", ["production"], ["production-2", "Production", "xproduction"]),
        ("release-*", ["release-", "release-1", "release-a/b"], ["release", "my-release-1"]),
        ("*/stable", ["team/stable", "a/b/stable"], ["stable"]),
        ("a.*", ["a.b"], ["ab"]),
        ("*", ["main", "latest", "a/b"], []),
    ],
)
def test_patterns(pattern, yes, no):
    assert all(protections.matches(pattern, name) for name in yes)
    assert not any(protections.matches(pattern, name) for name in no)


def test_many_stars_cost_nothing():
    assert not protections.matches("*" * 100 + "a*a*a*" * 16 + "b", "a" * 200)


def test_the_history_of_a_ref(place):
    refs.set_tag(actor=place.member, repository=place.repository, name="production", revision=place.second)
    refs.set_tag(actor=place.member, repository=place.repository, name="production", revision=place.second)
    refs.delete_tag(actor=place.owner, repository=place.repository, name="production")
    moves = Api(place.reader).get("/repositories/lab/one/refs/production/history").json()["results"]
    shown = [(m["actor"], m["before_version"], m["after_version"], m["before"], m["after"]) for m in moves]
    first, second = place.first.oid, place.second.oid
    assert shown == [
        ("owner", "v2", None, second, ""),
        ("member", "v1", "v2", first, second),
        ("owner", None, "v1", "", first),
    ]
    pushed = RefMove.objects.filter(repository=place.repository, name="main").order_by("pk")
    assert [(move.before, move.after) for move in pushed] == [("", first), (first, second)]
    browser = Client()
    browser.force_login(place.reader)
    page = browser.get("/lab/one/history/production").content.decode()
    assert first[:10] in page and second[:10] in page and "deleted" in page
