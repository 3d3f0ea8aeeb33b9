"""Trees, named paths, refs, branches, tags and commits."""

import re
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hub.models import Ref, RefMove, Repository
from hub.services import protections, refs
from tests.hub import factories
from tests.hub.hf.asking import Asker, refused

pytestmark = pytest.mark.django_db
HERE = "/api/datasets/lab/sums"
FILES = {
    "README.md": b"# Sums\n",
    "a/one.txt": b"1",
    "a/b/two words.txt": b"2",
    "big.safetensors.txt": b"3",
    "z.txt": b"z",
}


@pytest.fixture
def hub(people, base, store):
    return people


@pytest.fixture
def history(hub, dataset):
    """Three commits: the rows, more files, and one of them changed."""
    first = factories.push(hub.owner, dataset, factories.dataset_files(), message="rows")
    second = factories.push(hub.owner, dataset, FILES, message="files")
    third = factories.push(hub.member, dataset, {"a/b/two words.txt": b"22"}, message="two <b>")
    return [one.revision.oid for one in (first, second, third)]


def paths(rows) -> list[str]:
    return [row["path"] for row in rows]


def test_a_folder_at_a_time_or_all_of_them(hub, history):
    ask = Asker()
    assert paths(ask.json(f"{HERE}/tree/main")) == ["README.md", "a", "big.safetensors.txt", "test.jsonl", "z.txt"]
    assert paths(ask.json(f"{HERE}/tree/main/a")) == ["a/b", "a/one.txt"]
    assert paths(ask.json(f"{HERE}/tree/main/a%2Fb")) == ["a/b/two words.txt"]
    every = ask.json(f"{HERE}/tree/main?recursive=true")
    assert paths(every) == sorted([*FILES, "test.jsonl", "a", "a/b"])
    assert {row["type"] for row in every if row["path"] in ("a", "a/b")} == {"directory"}
    refused(ask.get(f"{HERE}/tree/main/none"), 404, "EntryNotFound", "none does not exist")
    assert ask.get(f"{HERE}/tree/main/none").headers["X-Repo-Commit"] == history[2]
    refused(ask.get(f"{HERE}/tree/none"), 404, "RevisionNotFound")
    assert paths(ask.json(f"{HERE}/tree/{history[0]}")) == ["test.jsonl"]


def test_ids_are_those_of_git(hub, dataset):
    factories.push(hub.owner, dataset, factories.dataset_files() | {"hello.txt": b"hello\n"})
    (row,) = [row for row in Asker().json(f"{HERE}/tree/main") if row["path"] == "hello.txt"]
    assert (row["oid"], row["size"]) == ("ce013625030ba8dba906f756967f9e9ca394464a", 6)  # git hash-object


def test_an_lfs_file_is_known_by_both_ids(hub, repository):
    factories.push(hub.owner, repository, factories.adapter_files())
    rows = {row["path"]: row for row in Asker().json("/api/models/lab/sentiment/tree/main")}
    weights = rows["adapter_model.safetensors"]
    assert len(weights["lfs"]["oid"]) == 64 and weights["lfs"]["size"] == weights["size"]
    assert len(weights["oid"]) == 40 and "lfs" not in rows["adapter_config.json"]


def test_the_last_commit_of_each_file_and_folder(hub, history):
    shown = {row["path"]: row["lastCommit"] for row in Asker().json(f"{HERE}/tree/main?recursive=true&expand=true")}
    assert {path: commit["id"] for path, commit in shown.items()} == {
        "README.md": history[1],
        "a": history[2],
        "a/b": history[2],
        "a/b/two words.txt": history[2],
        "a/one.txt": history[1],
        "big.safetensors.txt": history[1],
        "test.jsonl": history[0],
        "z.txt": history[1],
    }
    assert shown["test.jsonl"]["title"] == "rows"


def test_a_long_history_is_searched_to_its_end(hub, dataset, monkeypatch):
    monkeypatch.setattr("hub.queries.history.AT_ONCE", 2)
    factories.push(hub.owner, dataset, factories.dataset_files(), message="rows")
    for number in range(7):
        factories.push(hub.owner, dataset, {"n/count.txt": str(number).encode()}, message=f"count {number}")
    shown = Asker().json(f"{HERE}/tree/main?recursive=true&expand=true")
    assert {row["path"]: row["lastCommit"]["title"] for row in shown} == {
        "n": "count 6",
        "n/count.txt": "count 6",
        "test.jsonl": "rows",
    }


def test_a_tree_comes_in_pages(hub, history):
    ask, seen, path = Asker(), [], f"{HERE}/tree/main?recursive=true&limit=3"
    while path:
        answer = ask.get(path)
        seen += paths(answer.json())
        found = re.search(r"<http://testserver([^>]+)>", answer.headers.get("Link", ""))
        path = found and found[1]
    assert seen == sorted([*FILES, "test.jsonl", "a", "a/b"])
    refused(ask.get(f"{HERE}/tree/main?cursor=%ff"), 422, None, "cursor")


def test_the_way_to_the_next_page_holds_any_name_of_a_folder(hub, dataset):
    files = {f"a?b #c%/{number}.txt": b"1" for number in range(3)}
    factories.push(hub.owner, dataset, {**factories.dataset_files(), **files})
    ask, address = Asker(), f"{HERE}/tree/main/{quote('a?b #c%')}?limit=2"
    following = re.search(r"<http://testserver([^>]+)>", ask.get(address).headers["Link"])[1]
    assert paths(ask.json(following)) == ["a?b #c%/2.txt"]


def test_named_paths_come_in_their_order_and_unknown_ones_are_left_out(hub, history):
    answer = Asker().form(f"{HERE}/paths-info/main", paths=["z.txt", "none", "a", "README.md"], expand="true")
    assert paths(answer.json()) == ["z.txt", "a", "README.md"]
    assert answer.json()[1]["lastCommit"]["id"] == history[2]
    refused(Asker().form(f"{HERE}/paths-info/none", paths="a"), 404, "RevisionNotFound")
    refused(Asker().form(f"{HERE}/paths-info/main", paths=[str(n) for n in range(1001)]), 400, None, "can't be read")


def test_a_tree_asks_as_many_questions_whatever_its_length(hub, dataset):
    counts = []
    for number in (1, 9):
        files = {f"f{number}/{n}.txt": f"{number} {n}".encode() for n in range(number)}
        factories.push(hub.owner, dataset, factories.dataset_files() | files)
        Asker().json(f"{HERE}/tree/main?recursive=true")
        with CaptureQueriesContext(connection) as asked:
            Asker().json(f"{HERE}/tree/main?recursive=true&expand=true")
        counts.append(len(asked))
    assert counts[0] == counts[1]


def test_commits_are_newest_first_in_pages(hub, history):
    ask = Asker()
    assert [row["id"] for row in ask.json(f"{HERE}/commits/main")] == history[::-1]
    newest = ask.json(f"{HERE}/commits/main?expand[]=formatted&limit=1")[0]
    assert (newest["title"], newest["authors"]) == ("two <b>", [{"user": "member"}])
    assert newest["formatted"] == {"title": "two &lt;b&gt;", "message": ""}
    assert [row["id"] for row in ask.json(f"{HERE}/commits/{history[1][:9]}")] == history[1::-1]
    page = ask.get(f"{HERE}/commits/main?limit=2")
    following = re.search(r"<http://testserver([^>]+)>", page.headers["Link"])[1]
    assert [row["id"] for row in ask.json(following)] == [history[0]]
    assert "formatted" not in page.json()[0]
    refused(ask.get(f"{HERE}/commits/none"), 404, "RevisionNotFound")


def test_refs_show_versions_as_tags_and_no_proposal_unasked(hub, dataset, history):
    revision = dataset.revisions.get(oid=history[0])
    Ref.objects.create(repository=dataset, kind="pull", name="refs/pr/1", revision=revision)
    refs.set_tag(actor=hub.owner, repository=dataset, name="best", revision=revision)
    shown = Asker().json(f"{HERE}/refs")
    assert shown["branches"] == [{"name": "main", "ref": "refs/heads/main", "targetCommit": history[2]}]
    assert [tag["ref"] for tag in shown["tags"]] == ["refs/tags/best", "refs/tags/latest", "refs/tags/v1"]
    assert (shown["converts"], "pullRequests" in shown) == ([], False)
    proposed = Asker().json(f"{HERE}/refs?include_prs=1")["pullRequests"]
    assert proposed == [{"name": "refs/pr/1", "ref": "refs/pr/1", "targetCommit": history[0]}]
    assert Asker().json(f"{HERE}/revision/refs%2Fpr%2F1")["sha"] == history[0]


def test_tags_are_made_once_and_anywhere(hub, dataset, history):
    ask = Asker(hub.member)
    assert ask("POST", f"{HERE}/tag/{history[0][:7]}", {"tag": "x/1", "message": "first"}).status_code == 200
    assert ask.json(f"{HERE}/revision/x%2F1")["sha"] == history[0]
    refused(ask("POST", f"{HERE}/tag/main", {"tag": "x/1"}), 409, None, "refs/tags/x/1 already exists")
    refused(ask("POST", f"{HERE}/tag/none", {"tag": "y"}), 404, "RevisionNotFound")
    refused(ask("POST", f"{HERE}/tag/main", {"tag": "not a name"}), 422, None, "can't name")
    refused(ask("POST", f"{HERE}/tag/main", {"tag": "v1"}), 422, None, "only the hub gives")
    refused(ask("POST", f"{HERE}/tag/main", {"tag": ["v"]}), 422, None, "should be a text")
    assert ask("DELETE", f"{HERE}/tag/x%2F1").status_code == 200
    refused(ask("DELETE", f"{HERE}/tag/x%2F1"), 404, "RevisionNotFound")
    refused(ask("DELETE", f"{HERE}/tag/main"), 404, "RevisionNotFound")
    assert RefMove.objects.filter(name="x/1").count() == 2


def test_branches_begin_anywhere_and_main_stays(hub, dataset, history):
    ask = Asker(hub.member)
    ask("POST", f"{HERE}/tag/main", {"tag": "same"})
    for name, start, oid in (("new", None, history[2]), ("same", history[0], history[0]), ("side", "same", history[0])):
        body = {"startingPoint": start} if start else {}
        assert ask("POST", f"{HERE}/branch/{name}", body).status_code == 200
        assert Ref.objects.get(repository=dataset, kind="branch", name=name).revision.oid == oid
    for name in ("new", "main"):
        refused(ask("POST", f"{HERE}/branch/{name}", {}), 409, None, f"Reference refs/heads/{name} already exists")
    refused(ask("POST", f"{HERE}/branch/x", {"startingPoint": "none"}), 404, "RevisionNotFound")
    for name in ("refs%2Fpr%2F5", "refs"):  # A branch "refs" would stand before refs/heads/main in an address.
        refused(ask("POST", f"{HERE}/branch/{name}", {}), 422, None, "only the hub gives")
    refused(ask("DELETE", f"{HERE}/branch/main"), 403, None, "Cannot delete refs/heads/main")
    refused(ask("DELETE", f"{HERE}/branch/none"), 404, "RevisionNotFound", "Invalid rev id")
    assert ask("DELETE", f"{HERE}/branch/same").status_code == 200
    assert Ref.objects.filter(repository=dataset, name="same").values_list("kind", flat=True).get() == "tag"
    moves = RefMove.objects.filter(name="same", kind="branch").order_by("pk")
    assert [(move.before, move.after) for move in moves] == [("", history[0]), (history[0], "")]


def test_protected_refs_are_for_admins(hub, dataset, history):
    protections.protect(actor=hub.owner, place=dataset, pattern="release-*")
    body = {"tag": "release-1"}
    refused(Asker(hub.member)("POST", f"{HERE}/tag/main", body), 403, None, "protected")
    refused(Asker(hub.member)("POST", f"{HERE}/branch/release-2", {}), 403, None, "protected")
    assert Asker(hub.owner)("POST", f"{HERE}/branch/release-2", {}).status_code == 200
    refused(Asker(hub.owner, scopes=["write"])("DELETE", f"{HERE}/branch/release-2"), 403, None, "protected")
    assert Asker(hub.owner)("POST", f"{HERE}/tag/main", body).status_code == 200


def test_a_branch_with_slashes_is_told_from_a_path(hub, dataset, history):
    ask = Asker(hub.member)
    ask("POST", f"{HERE}/branch/a/b", {"startingPoint": history[0]})
    assert paths(ask.json(f"{HERE}/tree/a/b")) == ["test.jsonl"]
    assert paths(ask.json(f"{HERE}/tree/main/a/b")) == ["a/b/two words.txt"]
    assert ask.get("/datasets/lab/sums/resolve/a/b/test.jsonl").status_code == 200
    ask("POST", f"{HERE}/branch/v1/a", {})
    assert ask.get("/datasets/lab/sums/resolve/v1/a/one.txt").status_code == 404  # v1 is the version


def test_two_revisions_are_compared_as_git_does(hub, history):
    text = Asker().get(f"{HERE}/compare/{history[1]}..main").content.decode()
    assert re.fullmatch(r":100644 100644 [0-9a-f]{40} [0-9a-f]{40} M\ta/b/two words.txt\n", text)
    assert Asker().get(f"{HERE}/compare/main..{history[0]}").content.count(b" D\t") == len(FILES)
    refused(Asker().get(f"{HERE}/compare/main"), 422, None, "main..v2")
    refused(Asker().get(f"{HERE}/compare/main..none"), 404, "RevisionNotFound")


def test_discussions_are_answered_as_none(hub, repository):
    shown = Asker().json("/api/models/lab/sentiment/discussions?p=0")
    assert (shown["discussions"], shown["count"], shown["start"]) == ([], 0, 0)
    assert Repository.objects.get().pull_requests.count() == 0
