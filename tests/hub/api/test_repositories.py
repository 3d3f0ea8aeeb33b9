"""Repositories, versions, refs over REST: browsing with facets and keyset pages, changing, trash; in few queries."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub.models import Repository
from hub.services import refs
from tests.hub import factories
from tests.hub.api_client import Api, problem

pytestmark = pytest.mark.django_db


def walk(api: Api, path: str) -> list[dict]:
    """All results over all pages; no page may be seen twice."""
    found, seen = [], set()
    while path:
        assert path not in seen
        seen.add(path)
        body = api.get(path).json()
        assert set(body) == {"results", "next"}
        found += body["results"]
        path = body["next"]
    return found


def test_making_reading_changing_deleting_restoring(owner, people):
    api = Api(owner)
    made = api.post("/repositories", {"namespace": "lab", "name": "x", "kind": "adapter", "visibility": "private"})
    assert made.status_code == 201
    assert made.json()["full_name"] == "lab/x"
    assert api.get("/repositories/lab/x").json() == made.json()
    changed = api("PATCH", "/repositories/lab/x", {"visibility": "public", "description": "An example."}).json()
    assert (changed["visibility"], changed["description"]) == ("public", "An example.")
    assert api.delete("/repositories/lab/x").status_code == 204
    problem(api.get("/repositories/lab/x"), 404, "not_found")
    assert [row["full_name"] for row in walk(api, "/trash")] == ["lab/x"]
    assert api.post("/repositories/lab/x/restore").json()["description"] == "An example."
    assert api.get("/repositories/lab/x").status_code == 200


def test_a_writer_may_describe_but_not_publish(people, owner):
    factories.make_repository(owner, "x", namespace=people.lab, visibility="private")
    member = Api(people.member)
    assert member("PATCH", "/repositories/lab/x", {"description": "d"}).status_code == 200
    problem(member("PATCH", "/repositories/lab/x", {"visibility": "public"}), 403, "permission_denied")
    assert Repository.objects.get().visibility == "private"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"name": "x.v2"}, "invalid", "name"),
        ({"name": "a/b"}, "invalid", "name"),
        ({"name": "x" * 97}, "invalid", "name"),
        ({"name": ""}, "invalid", "name"),
        ({"name": None}, "invalid", "name"),
        ({"name": ["x"]}, "invalid", "name"),
        ({"kind": "model"}, "invalid", "kind"),
        ({"visibility": "secret"}, "invalid", "visibility"),
        ({"description": "x" * 301}, "invalid", "description"),
        ({"owner": "me"}, "invalid", "owner"),
    ],
)
def test_bad_new_repositories_name_the_field(owner, people, body, code, field):
    wanted = {"namespace": "lab", "name": "x", "kind": "adapter", **body}
    assert problem(Api(owner).post("/repositories", wanted), 422, code)["field"] == field
    assert not Repository.objects.exists()


def test_a_taken_name_is_a_conflict_in_any_case(owner, repository):
    wanted = {"namespace": "lab", "name": "Sentiment", "kind": "adapter"}
    problem(Api(owner).post("/repositories", wanted), 409, "conflict")


@pytest.mark.parametrize("sort", ["updated", "created", "downloads", "name"])
def test_pages_show_everything_once_in_order(owner, sort):
    for number in range(7):
        made = factories.make_repository(owner, f"r{number % 4}-{number}")
        Repository.objects.filter(pk=made.pk).update(downloads=number % 3)
    rows = walk(Api(), f"/repositories?sort={sort}&limit=2")
    assert len({row["full_name"] for row in rows}) == len(rows) == 7
    column = {"updated": "updated_at", "created": "created_at", "downloads": "downloads", "name": "name"}[sort]
    values = [row[column] for row in rows]
    assert values == sorted(values, reverse=sort != "name")


def test_rows_that_arrive_between_pages_are_not_shown_twice(owner):
    for number in range(4):
        factories.make_repository(owner, f"r{number}")
    first = Api().get("/repositories?sort=created&limit=2").json()
    factories.make_repository(owner, "newer")
    second = Api().get(first["next"]).json()
    assert [row["name"] for row in first["results"] + second["results"]] == ["r3", "r2", "r1", "r0"]


def test_no_offset_is_ever_asked(owner):
    for number in range(4):
        factories.make_repository(owner, f"r{number}")
    following = Api().get("/repositories?limit=2").json()["next"]
    with CaptureQueriesContext(
        connection,
    ) as queries:
        Api().get(following)
    assert not [q for q in queries.captured_queries if "OFFSET" in q["sql"].upper()]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=W10", "cursor"),
        ("cursor=eyJ9", "cursor"),
        ("cursor=%00", "cursor"),
        ("sort=password", "sort"),
        ("sort=namespace__owner__password", "sort"),
        ("rank=big", "rank"),
        ("rank=99999999999999999999", "rank"),
        ("kind=model", "kind"),
        ("search=%00", "search"),
        ("created_by__password=x", "created_by__password"),
    ],
)
def test_bad_queries_name_the_field(query, field):
    assert problem(Api().get(f"/repositories?{query}"), 422, "invalid")["field"] == field


def test_a_cursor_of_another_sort_is_refused(owner):
    for number in range(3):
        factories.make_repository(owner, f"r{number}")
    following = Api().get("/repositories?sort=name&limit=2").json()["next"]
    refused = Api().get(following.replace("sort=name", "sort=updated"))
    assert problem(refused, 422, "invalid")["field"] == "cursor"


def test_facets_narrow(owner, base, people):
    factories.make_version(owner, "small", rank=2)
    factories.make_version(owner, "large", rank=8, card="---\nlicense: mit\ntags: [maths]\n---\n")
    factories.make_repository(owner, "sums", namespace=people.lab, kind="dataset", description="additions")

    def names(query: str) -> set[str]:
        return {row["name"] for row in Api().get(f"/repositories?{query}").json()["results"]}

    assert names("kind=dataset") == {"sums"}
    assert names("rank=8") == {"large"}
    assert names("peft_type=LORA") == {"small", "large"}
    assert names("base=pico/llama&rank=2") == {"small"}
    assert names("license=mit") == names("tag=maths") == {"large"}
    assert names("owner=lab") == names("search=ADDITION") == {"sums"}
    assert names("origin=merged") == set()


def test_private_repositories_are_listed_for_their_members_only(owner, people):
    factories.make_repository(owner, "secret", namespace=people.lab, visibility="private")
    for user, count in ((None, 0), (people.stranger, 0), (people.reader, 1), (people.owner, 1)):
        assert len(walk(Api(user), "/repositories")) == count


def test_versions_and_one_with_everything(owner, base, repository):
    first = factories.publish(owner, repository, factories.adapter_files(seed=1)).version
    recipe = {"kind": "svd", "version": 1, "rank": 4}
    made = {"origin": "merged", "recipe": recipe, "report": {"method": "svd"}, "parents": [first]}
    child = factories.make_repository(owner, "child")
    factories.publish(owner, child, factories.adapter_files(seed=2), **made)
    rows = walk(Api(), "/repositories/lab/sentiment/versions")
    assert [row["version"] for row in rows] == ["v1"]
    parent = Api().get("/repositories/lab/sentiment/versions/v1").json()
    assert parent["facts"]["ranks"] == [4, 4]
    assert parent["children"][0]["name"] == "owner/child@v1"
    found = Api().get("/repositories/owner/child/versions/latest").json()
    assert (found["recipe"], found["report"], found["origin"]) == (recipe, {"method": "svd"}, "merged")
    assert found["parents"][0]["name"] == "lab/sentiment@v1"
    assert found["evaluations"] == []


def test_a_hidden_parent_keeps_its_name(owner, base, people):
    secret = factories.make_version(owner, "secret", namespace=people.lab, visibility="private", seed=1)
    child = factories.make_repository(owner, "child")
    factories.publish(owner, child, factories.adapter_files(seed=2), parents=[secret])
    Repository.objects.filter(name="child").update(visibility="public")
    answer = Api().get("/repositories/owner/child/versions/v1")
    assert answer.json()["parents"] == [{"hidden": True, "position": 0}]
    assert b"secret" not in answer.content


def test_tags_move_and_go(owner, base, repository):
    api = Api(owner)
    one = factories.publish(owner, repository, factories.adapter_files(seed=1)).revision
    two = factories.publish(owner, repository, factories.adapter_files(seed=2)).revision
    assert api.put("/repositories/lab/sentiment/tags/best", {"ref": "v1"}).json()["revision"] == one.oid
    moved = api.put("/repositories/lab/sentiment/tags/best", {"ref": "latest"}).json()
    assert (moved["revision"], moved["version"]) == (two.oid, "v2")
    assert {row["name"] for row in walk(api, "/repositories/lab/sentiment/refs?limit=1")} == {"main", "latest", "best"}
    assert api.delete("/repositories/lab/sentiment/tags/best").status_code == 204
    problem(api.delete("/repositories/lab/sentiment/tags/best"), 404, "revision_not_found")


@pytest.mark.parametrize(
    ("tag", "body", "status", "code"),
    [
        ("v7", {"ref": "main"}, 422, "invalid"),
        ("latest", {"ref": "main"}, 422, "invalid"),
        ("a..b", {"ref": "main"}, 422, "invalid"),
        ("main", {"ref": "main"}, 409, "conflict"),
        ("good", {"ref": "v9"}, 404, "revision_not_found"),
        ("good", {}, 422, "invalid"),
        ("good", {"ref": 1}, 422, "invalid"),
        ("good", [], 422, "invalid"),
    ],
)
def test_bad_tags(owner, repository, tag, body, status, code):
    factories.publish(owner, repository, {"README.md": b"# x\n"})
    problem(Api(owner).put(f"/repositories/lab/sentiment/tags/{tag}", body), status, code)


def queries_of(api: Api, path: str) -> int:
    with CaptureQueriesContext(connection) as found:
        assert api.get(path).status_code == 200
    return len(found)


@pytest.mark.parametrize(
    "path",
    [
        "/repositories",
        "/repositories?search=a&tag=maths&sort=downloads",
        "/repositories/owner/a0/versions",
        "/repositories/owner/a0/refs",
        "/repositories/owner/a0/files/main",
        "/bases",
        "/trash",
    ],
)
def test_long_lists_cost_no_more_queries_than_short_ones(owner, base, path):
    api = Api(owner)

    def more(names: range) -> None:
        for number in names:
            card = f"---\ntags: [maths, a{number}]\n---\n# {number}\n"
            factories.make_version(owner, f"a{number}", seed=number, card=card)
            gone = factories.make_repository(owner, f"gone{number}")
            api.delete(f"/repositories/{gone.full_name}")
            factories.make_base(f"pico/base{number}", ready=False, derived_from=base, relation="finetune")
            again = Repository.objects.get(name="a0")
            factories.publish(owner, again, {**factories.adapter_files(seed=100 + number), f"{number}.md": b"#\n"})
            api.put(f"/repositories/owner/a0/tags/t{number}", {"ref": "main"})

    more(range(2))
    few = queries_of(api, path)
    more(range(2, 6))
    assert queries_of(api, path) == few


def test_a_list_by_ref_tells_what_it_stands_for(people, owner, django_assert_max_num_queries):
    base = factories.make_base()
    made = [factories.make_version(owner, name, namespace=people.lab, base=base) for name in ("a", "b")]
    newer = factories.publish(owner, made[0].repository, factories.adapter_files(rank=8)).version
    refs.set_tag(actor=owner, repository=made[0].repository, name="production", revision=made[0].revision)
    factories.make_version(owner, "hidden", namespace=people.lab, base=base, visibility="private")
    hidden = Repository.objects.get(name="hidden")
    refs.set_tag(actor=owner, repository=hidden, name="production", revision=hidden.versions.get().revision)
    oid = made[0].revision.oid

    def asked(who, ref: str) -> dict:
        rows = walk(Api(who), f"/repositories?ref={ref}")
        return {row["name"]: row["at"] and row["at"]["version"] for row in rows}

    assert asked(None, "production") == {"a": "v1"}
    assert asked(owner, "production") == {"a": "v1", "hidden": "v1"}
    assert asked(None, "latest") == {"a": "v2", "b": "v1"} == asked(None, "main")
    assert asked(None, "v2") == {"a": newer.label} and asked(None, "nothing") == {}
    assert walk(Api(None), "/repositories?ref=production")[0]["at"] == {"revision": oid, "version": "v1"}
    assert {row["at"] for row in walk(Api(None), "/repositories")} == {None}
    with django_assert_max_num_queries(5):
        Api(None).get("/repositories?ref=latest")
