"""Repositories by the protocol: made, found again after a move, set, deleted; and who may."""

import pytest

from hub.access import Viewer
from hub.errors import PermissionDenied
from hub.models import Event, FormerName, Job, Kind, Repository, Stored, Visibility
from hub.services import quotas, repositories
from hub.services.repositories.moving import move_repository
from tests.hub import asking as jobs
from tests.hub import factories
from tests.hub.hf.asking import Asker, refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def hub(people, base, store):
    return people


def test_a_new_repository_has_one_commit_with_the_default_attributes(hub):
    ask = Asker(hub.owner)
    answer = ask("POST", "/api/repos/create", {"name": "dates", "organization": None, "type": None, "private": True})
    assert answer.json()["url"] == "http://testserver/owner/dates"
    row = Repository.objects.get(name="dates")
    assert (row.kind, row.visibility, row.namespace.name) == (Kind.ADAPTER, Visibility.PRIVATE, "owner")
    commits = ask.json("/api/models/owner/dates/commits/main")
    assert [one["title"] for one in commits] == ["initial commit"]
    assert [file["path"] for file in ask.json("/api/models/owner/dates/tree/main")] == [".gitattributes"]
    assert b"*.safetensors filter=lfs" in b"".join(ask.get("/owner/dates/raw/main/.gitattributes").streaming_content)
    assert row.versions.count() == 0


def test_what_is_there_already_is_409_with_its_address_and_what_is_in_the_trash_gives_way(hub):
    ask = Asker(hub.owner)
    wanted = {"name": "lab/Dates", "type": "dataset", "visibility": "public"}
    assert ask("POST", "/api/repos/create", wanted).json()["url"] == "http://testserver/datasets/lab/Dates"
    taken = refused(ask("POST", "/api/repos/create", {**wanted, "name": "lab/dates"}), 409, None, "already created")
    assert taken["url"] == "http://testserver/datasets/lab/dates"
    assert ask("POST", "/api/repos/create", {**wanted, "type": "model"}).status_code == 200
    repositories.delete_repository(actor=hub.owner, repository=Repository.objects.get(kind="dataset"))
    assert ask("POST", "/api/repos/create", wanted).json()["url"] == "http://testserver/datasets/lab/Dates"
    gone, made = Repository.objects.filter(kind="dataset").order_by("pk")
    assert (gone.name, made.name, gone.deleted_at is None, made.deleted_at) == ("Dates-deleted", "Dates", False, None)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"name": "x", "organization": "nobody"}, 404, "nobody"),
        ({"name": "x--y"}, 422, "can't name a repository"),
        ({"name": "x.v2"}, 422, "reserved for versions"),
        ({"name": 5}, 422, "'name' should be a text"),
        ({}, 422, "'name' should be a text"),
        ({"name": "x", "type": "space"}, 422, "model and dataset"),
        ({"name": "x", "visibility": "internal"}, 422, "public or private"),
        ({"name": "x", "organization": "stranger"}, 403, "writer"),
    ],
)
def test_a_repository_that_cannot_be_made_is_refused_in_words(hub, body, status, words):
    refused(Asker(hub.owner)("POST", "/api/repos/create", body), status, None, words)
    assert not Repository.objects.exists()


def test_deleting_needs_the_admin_and_says_what_is_missing(hub, repository):
    body = {"name": "Sentiment", "organization": "LAB", "type": "model"}
    refused(Asker(hub.member)("DELETE", "/api/repos/delete", body), 403, None, "admin")
    assert Asker(hub.owner)("DELETE", "/api/repos/delete", body).status_code == 200
    refused(Asker(hub.owner)("DELETE", "/api/repos/delete", body), 404, "RepoNotFound", "Repository not found")
    refused(Asker(hub.owner)("DELETE", "/api/repos/delete", {"name": "never"}), 404, "RepoNotFound")
    repositories.restore_repository(actor=hub.owner, repository=repository)
    assert Asker().get("/api/models/lab/sentiment").status_code == 200


def move(ask, before, after, type="model"):
    return ask("POST", "/api/repos/move", {"fromRepo": before, "toRepo": after, "type": type})


def test_a_moved_repository_is_found_by_its_old_name_by_every_door(hub, repository):
    factories.push(hub.owner, repository, factories.adapter_files(card="# Hi\n"))
    ask = Asker(hub.owner)
    assert move(ask, "lab/sentiment", "owner/mood").json()["url"] == "http://testserver/owner/mood"
    for path in (
        "/api/models/lab/sentiment",
        "/api/models/LAB/Sentiment/tree/main?recursive=true",
        "/lab/sentiment/resolve/main/README.md",
        "/lab/sentiment/raw/main/README.md",
        "/api/models/lab/sentiment.v1",
    ):
        answer = Asker().get(path)
        assert answer.status_code == 307
        assert answer.headers["Location"].startswith(("/api/models/owner/mood", "/owner/mood"))
        assert Asker().get(path, again=True).status_code == 200, path
    tagged = ask("POST", "/api/models/lab/sentiment/tag/main", {"tag": "new"}, again=True)
    assert tagged.status_code == 200
    rest, page = Asker().get("/api/v1/repositories/lab/sentiment"), Asker().get("/lab/sentiment")
    assert (rest.status_code, rest.headers["Location"]) == (307, "/api/v1/repositories/owner/mood")
    assert (page.status_code, page.headers["Location"]) == (307, "/owner/mood")


def test_moving_back_and_making_the_old_name_anew_both_work(hub, repository):
    ask = Asker(hub.owner)
    assert move(ask, "lab/sentiment", "lab/mood").status_code == 200
    assert move(ask, "lab/mood", "lab/sentiment").status_code == 200
    assert [row.folded for row in FormerName.objects.all()] == ["mood"]
    assert ask.json("/api/models/lab/mood", again=True)["id"] == "lab/sentiment"
    assert ask("POST", "/api/repos/create", {"name": "mood", "organization": "lab"}).status_code == 200
    assert ask.json("/api/models/lab/mood")["id"] == "lab/mood"
    assert not FormerName.objects.exists()


def test_a_former_name_in_a_body_is_answered_with_the_name_of_today(hub, repository):
    ask, moved = Asker(hub.owner), {"fromRepo": "lab/sentiment", "toRepo": "lab/feeling", "type": "model"}
    assert ask("POST", "/api/repos/move", moved).status_code == 200
    gone = {"name": "sentiment", "organization": "lab"}
    for method, path, body in (("DELETE", "/api/repos/delete", gone), ("POST", "/api/repos/move", moved)):
        answer = ask(method, path, body)
        refused(answer, 409, None, "lab/sentiment is called lab/feeling now")
        assert "Location" not in answer.headers


def test_a_former_name_tells_a_stranger_nothing(hub, repository):
    ask = Asker(hub.owner)
    ask("PUT", "/api/models/lab/sentiment/settings", {"visibility": "private"})
    move(ask, "lab/sentiment", "lab/mood")
    refused(Asker().get("/api/models/lab/sentiment"), 401, "RepoNotFound", "Repository not found")
    refused(Asker(hub.stranger).get("/api/models/lab/sentiment"), 404, "RepoNotFound", "Repository not found")
    assert Asker(hub.reader).get("/api/models/lab/sentiment").status_code == 307


def test_a_move_takes_bytes_and_coming_results_along(hub, repository):
    made = factories.push(hub.owner, repository, factories.adapter_files())
    merge = {"actor": hub.owner, "kind": "lego", "recipe": {"rank": 2}, "inputs": [made.version]}
    job = jobs.queue_job(**merge, output=("lab", "sentiment"))
    before = set(Stored.objects.values_list("namespace__name", "sha256"))
    move_repository(actor=Viewer(user=hub.owner), repository=repository, namespace=hub.owner.namespace, name="mood")
    after = set(Stored.objects.values_list("namespace__name", "sha256"))
    assert {("owner", sha256) for _, sha256 in before} == after
    assert quotas.miscounted(hub.lab) == quotas.miscounted(hub.owner.namespace) == 0
    job = Job.objects.select_related("output_namespace").get(pk=job.pk)
    assert (job.output_namespace.name, job.output_name) == ("owner", "mood")
    told = Event.objects.filter(verb="repository.move").values_list("namespace__name", "detail__before")
    assert sorted(told) == [("lab", "lab/sentiment"), ("owner", "lab/sentiment")]


def test_a_move_needs_both_sides_and_a_free_name(hub, repository, dataset):
    factories.make_repository(hub.owner, "taken", namespace=hub.lab)
    ask = Asker(hub.owner)
    refused(move(ask, "lab/sentiment", "lab/Taken"), 409, None, "A model repository called lab/taken already exists")
    refused(move(ask, "lab/sentiment", "stranger/x"), 403, None, "admin")
    refused(move(Asker(hub.member), "lab/sentiment", "member/x"), 403, None, "admin")
    refused(move(Asker(hub.stranger), "lab/nothing", "stranger/x"), 404, "RepoNotFound")
    refused(move(ask, "sentiment", "lab/x"), 422, None, "namespace/name")
    assert move(ask, "lab/sums", "lab/taken", "dataset").status_code == 200
    assert Asker().get("/datasets/lab/sums/resolve/main/x", again=True).headers["X-Error-Code"] == "RevisionNotFound"


def test_a_private_merge_is_not_moved_to_where_others_would_see_it(hub, base):
    secret = factories.make_version(hub.stranger, "secret", visibility="private")
    mine = factories.make_repository(hub.owner, "merged", visibility="private")
    factories.publish(hub.owner, mine, factories.adapter_files(seed=1), parents=[secret])
    with pytest.raises(PermissionDenied, match="a private adapter you can't see"):
        move_repository(actor=Viewer(user=hub.owner), repository=mine, namespace=hub.lab, name="merged")
    moved = move_repository(
        actor=Viewer(user=hub.owner), repository=mine, namespace=hub.owner.namespace, name="renamed"
    )
    assert moved.full_name == "owner/renamed"


@pytest.mark.parametrize("body", [{"visibility": "private"}, {"private": True}])
def test_settings_change_who_sees_it_and_who_may_fetch_it(hub, repository, body):
    ask = Asker(hub.owner)
    assert ask("PUT", "/api/models/lab/sentiment/settings", {**body, "gated": "manual"}).status_code == 200
    shown = ask.json("/api/models/lab/sentiment?expand=gated&expand=private")
    assert (shown["gated"], shown["private"]) == ("manual", True)
    back = {"visibility": "public", "gated": False}
    assert ask("PUT", "/api/models/lab/sentiment/settings", back).status_code == 200
    assert ask.json("/api/models/lab/sentiment?expand=gated")["gated"] is False
    refused(ask("PUT", "/api/models/lab/sentiment/settings", {"gated": "later"}), 422, None, "auto")
    refused(Asker(hub.member)("PUT", "/api/models/lab/sentiment/settings", back), 403, None, "admin")


def test_auth_check_answers_by_what_the_asker_may(hub, repository):
    for user, read, write in (
        (None, 200, 401),
        (hub.stranger, 200, 403),
        (hub.reader, 200, 403),
        (hub.member, 200, 200),
    ):
        ask = Asker(user)
        assert ask.get("/api/models/lab/sentiment/auth-check").status_code == read
        assert ask.get("/api/models/lab/sentiment/auth-check/write").status_code == write
    assert Asker(hub.member, scopes=["read"]).get("/api/models/lab/sentiment/auth-check/write").status_code == 403
    refused(Asker().get("/api/models/lab/none/auth-check"), 401, "RepoNotFound")


def test_what_ones_namespaces_store_is_listed(hub, repository):
    factories.push(hub.owner, repository, {"README.md": b"x" * 100})
    ask = Asker(hub.owner)
    assert ask.json("/api/settings/repositories") == []
    shown = ask.json("/api/organizations/lab/settings/repositories")
    assert [(row["id"], row["type"], row["storage"], row["storagePercent"]) for row in shown] == [
        ("lab/sentiment", "model", 100, 1.0)
    ]
    assert Asker(hub.stranger).get("/api/organizations/lab/settings/repositories").status_code == 404


@pytest.mark.parametrize(
    "path", ["/api/models/gpt2", "/api/models/gpt2/commits/main", "/api/spaces/a/b", "/api/models/a b/c"]
)
def test_ids_that_can_be_none_are_repositories_that_are_missing(hub, path):
    refused(Asker(hub.owner).get(path), 404, "RepoNotFound", "Repository not found")
    refused(Asker().get(path), 401, "RepoNotFound", "Repository not found")


def test_a_route_that_is_lacking_is_a_plain_404(hub, repository):
    refused(Asker(hub.owner).get("/api/models/lab/sentiment/notebooks"), 404, None, "no such route")
    refused(Asker(hub.owner).get("/api/collections"), 404, None, "no such route")
    refused(Asker(hub.stranger).get("/api/models/lab/none/notebooks"), 404, "RepoNotFound")
