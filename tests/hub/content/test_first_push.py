"""A first push makes its repository by its commit: refused, nothing of that name is left; done, all of it is there."""

import pytest

from hub.models import Event, Membership, Repository, Revision, Role, Upload
from hub.services import repositories
from hub.services.content import first_push
from hub.services.leaving import delete_user
from hub.services.protections import protect
from hub.services.quotas import set_quota
from tests.hub import factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db
MAKE = {"kind": "adapter", "visibility": "public"}


@pytest.fixture
def api(owner, base) -> Api:
    return Api(owner)


@pytest.fixture
def files() -> dict[str, bytes]:
    return factories.adapter_files()


def send_all(api: Api, upload: dict, files: dict[str, bytes]) -> None:
    for row in upload["files"]:
        if row["received"] < row["size"]:
            assert api.send(upload["id"], row["path"], files[row["path"]][row["received"] :], row["received"])


def test_the_commit_makes_the_repository(api, files, owner):
    done = api.push("lab/first", files, make={"kind": "adapter", "visibility": "private"})
    assert done["version"] == "v1" and done["created"]
    made = Repository.objects.get(namespace__name="lab", name="first")
    assert (made.kind, made.visibility, made.created_by) == ("adapter", "private", owner)
    verbs = list(Event.objects.filter(repository=made).order_by("pk").values_list("verb", flat=True))
    assert verbs[:1] == ["repository.create"] and "publish" in verbs
    assert Upload.objects.get().repository == made


def test_nothing_is_there_before_the_commit(api, files):
    upload = api.begin("lab/first", files, make=MAKE).json()
    send_all(api, upload, files)
    assert upload["repository"] == "lab/first"
    assert not Repository.objects.exists()
    problem(api.get("/repositories/lab/first"), 404, "not_found")
    assert api.get(f"/uploads/{upload['id']}").json()["files"][0]["received"] > 0


def test_a_refused_commit_leaves_no_repository_and_the_mended_push_its_bytes(api, files):
    bad = {**files, "adapter_config.json": files["adapter_config.json"].replace(b'"r": 4', b'"r": 5')}
    upload = api.begin("lab/first", bad, make=MAKE).json()
    send_all(api, upload, bad)
    assert api.post(f"/uploads/{upload['id']}/commit").status_code == 422
    assert not Repository.objects.exists() and not Revision.objects.exists()
    again = api.begin("lab/first", files, make=MAKE).json()
    received = {row["path"]: row["received"] for row in again["files"]}
    assert received["adapter_model.safetensors"] == len(files["adapter_model.safetensors"])
    send_all(api, again, files)
    assert api.post(f"/uploads/{again['id']}/commit").status_code == 201


def test_a_refused_beginning_leaves_no_repository(api):
    refused = api.begin("lab/first", {"adapter_model.bin": b"\x80\x02}q\x00."}, make=MAKE)
    assert refused.status_code == 422
    assert not Repository.objects.exists() and not Upload.objects.exists()


def test_the_second_commit_answers_as_the_first(api, files):
    upload = api.begin("lab/first", files, make=MAKE).json()
    send_all(api, upload, files)
    url = f"/uploads/{upload['id']}/commit"
    first, second = api.post(url).json(), api.post(url).json()
    assert second == {**first, "created": False}


def test_without_make_a_missing_repository_is_missing(api, files):
    problem(api.begin("lab/first", files), 404, "not_found")


@pytest.mark.parametrize(
    ("name", "make", "status", "code"),
    [
        ("sentiment", {"kind": "generator"}, 409, "repository.other_kind"),
        ("bad~name", {}, 404, None),
        ("x.v1", {}, 422, "invalid"),
        ("first", {"kind": "poem"}, 422, "invalid"),
        ("first", {"visibility": "hidden"}, 422, "invalid"),
        ("first", {"colour": "red"}, 422, "invalid"),
    ],
)
def test_what_can_be_no_repository_is_refused_at_once(api, files, repository, name, make, status, code):
    refused = api.begin(f"lab/{name}", files, make=make)
    assert refused.status_code == status, refused.content
    assert code is None or refused.json()["code"] == code
    assert not Upload.objects.exists()


def test_a_name_in_the_trash_is_free(api, files, repository, owner):
    repositories.delete_repository(actor=owner, repository=repository)
    assert api.begin("lab/sentiment", files, make=None).status_code == 404
    assert api.push("lab/sentiment", files, make=MAKE)["version"] == "v1"
    repository.refresh_from_db()
    assert repository.name == "sentiment-deleted" and repository.deleted_at


def test_a_repository_that_is_there_takes_the_push(api, files, repository):
    assert api.push("lab/sentiment", files, make=MAKE)["version"] == "v1"
    assert Repository.objects.count() == 1


@pytest.mark.parametrize(("role", "status"), [("member", 201), ("reader", 403), ("stranger", 403)])
def test_only_who_may_make_repositories_there(people, files, role, status):
    assert Api(getattr(people, role)).begin("lab/first", files, make=MAKE).status_code == status


def test_who_is_not_signed_in_is_told_so(people, files):
    problem(Api().begin("lab/first", files, make=MAKE), 401, "not_signed_in")


def test_strangers_learn_nothing_of_a_private_name(people, files):
    factories.make_repository(people.owner, "hidden", namespace=people.lab, visibility="private")
    stranger = Api(people.stranger)
    asked = [stranger.begin(f"lab/{name}", files, make=MAKE).json()["detail"] for name in ("hidden", "nothing")]
    assert asked[0].replace("hidden", "") == asked[1].replace("nothing", "")


def test_who_lost_the_role_commits_no_more(people, base, files):
    api = Api(people.member)
    upload = api.begin("lab/first", files, make=MAKE).json()
    send_all(api, upload, files)
    Membership.objects.filter(user=people.member, namespace=people.lab).update(role=Role.READER)
    problem(api.post(f"/uploads/{upload['id']}/commit"), 404, "not_found")
    problem(Api(people.owner).post(f"/uploads/{upload['id']}/commit"), 404, "not_found")
    assert not Repository.objects.exists()


def test_the_share_of_repositories_counts_at_the_commit_too(api, files, owner, root, people):
    upload = api.begin("lab/first", files, make=MAKE).json()
    send_all(api, upload, files)
    factories.make_repository(owner, "other", namespace=people.lab)
    set_quota(actor=root, namespace=people.lab, repositories=1)
    problem(api.post(f"/uploads/{upload['id']}/commit"), 409, "quota.repositories")
    problem(api.begin("lab/second", files, make=MAKE), 409, "quota.repositories")
    assert not Repository.objects.filter(name="first").exists()


def test_what_another_made_meanwhile_must_be_of_the_kind_and_as_private(people, files, base):
    api = Api(people.member)
    for name, make, other, code in (
        ("kind", MAKE, {"kind": "generator"}, "repository.other_kind"),
        ("secret", {"visibility": "private"}, {}, "repository.other_visibility"),
    ):
        upload = api.begin(f"lab/{name}", files, make=make).json()
        send_all(api, upload, files)
        factories.make_repository(people.owner, name, namespace=people.lab, **other)
        problem(api.post(f"/uploads/{upload['id']}/commit"), 409, code)
    assert not Revision.objects.exists()


def test_other_bytes_to_a_name_that_was_taken_meanwhile_are_a_conflict(people, files, base):
    api = Api(people.member)
    upload = api.begin("lab/first", files, make=MAKE).json()
    send_all(api, upload, files)
    Api(people.owner).push("lab/first", factories.adapter_files(seed=9), make=MAKE)
    problem(api.post(f"/uploads/{upload['id']}/commit"), 409, "branch.moved")
    assert Revision.objects.count() == 1


def test_abandoning_a_first_push_forgets_it(api, files):
    upload = api.begin("lab/first", files, make=MAKE).json()
    assert api.delete(f"/uploads/{upload['id']}").status_code == 204
    assert not Upload.objects.exists()
    event = Event.objects.get(verb="upload.abandon")
    assert (event.object, event.namespace.name, event.repository) == ("lab/first", "lab", None)


def test_an_account_with_a_first_push_under_way_can_go(people, files):
    factories.begin(people.stranger, first_push.wanted(people.stranger.namespace, "x", kind="adapter"), files)
    delete_user(actor=people.stranger, user=people.stranger)
    assert not Upload.objects.exists()


def test_a_protected_branch_is_for_admins_in_a_new_repository_too(people, files, base):
    protect(actor=people.owner, place=people.lab, pattern="main")
    problem(Api(people.member).begin("lab/first", files, make=MAKE), 403, "ref.protected")
    assert Api(people.owner).push("lab/first", files, make=MAKE)["version"] == "v1"


def test_bytes_of_a_push_elsewhere_are_not_shared(api, files, owner):
    send_all(api, api.begin("lab/one", files, make=MAKE).json(), files)
    other = api.begin("lab/two", files, make=MAKE).json()
    assert {row["received"] for row in other["files"]} == {0}
