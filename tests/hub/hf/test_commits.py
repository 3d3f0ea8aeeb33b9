"""Commits by wire: what one makes of a branch, what it refuses, and that it is made once and whole or not at all."""

import hashlib
import io
import json

import pytest

from hub.errors import QuotaExceeded
from hub.hf.shapes.ndjson import read_commit
from hub.models import Arrival, Repository, Revision, Version
from hub.services import protections, quotas
from hub.services.commits import committing
from hub.services.content.manifest import manifest_of
from hub.services.content.publishing import head_of
from hub.services.upkeep import fsck
from tests import foreign
from tests.hub import factories
from tests.hub.hf.wire import Hf, body, delete, lfs, put

pytestmark = pytest.mark.django_db


@pytest.fixture
def hf(people, repository, base, store) -> Hf:
    """The writer of `lab` at the empty repository `lab/sentiment`."""
    return Hf(people.member, repository)


def paths(repository: Repository, branch: str = "main") -> list[str]:
    return sorted(manifest_of(head_of(repository, branch)))


def done(response) -> dict:
    assert response.status_code == 200, response.content
    return response.json()


def test_a_whole_adapter_is_a_version_and_a_card_alone_is_none(hf, repository):
    files = factories.adapter_files()
    first = done(hf.push({"README.md": b"# First\n"}, summary="a card"))
    assert first["version"] is None
    second = done(hf.push(files, summary="weights", description="two\nlines"))
    assert second["version"] == "v1"
    assert second["commitUrl"] == f"http://testserver/lab/sentiment/commit/{second['commitOid']}"
    head = head_of(repository, "main")
    assert (head.oid, head.message) == (second["commitOid"], "weights\n\ntwo lines")
    assert head.parent.oid == first["commitOid"]
    assert paths(repository) == sorted([*files, "README.md"])


def test_weights_first_and_their_config_later_make_the_version_when_they_are_whole(hf, repository):
    files = factories.adapter_files()
    weights, config = "adapter_model.safetensors", "adapter_config.json"
    sha256 = hf.arrive(files[weights])
    answer = hf.commit(lfs(weights, sha256, len(files[weights])))
    assert done(answer)["version"] is None
    assert f"no version yet: {config} is missing" in answer.headers["X-HF-Warning"]
    assert not Version.objects.exists()
    assert not Arrival.objects.exists()
    assert done(hf.push({config: files[config]}))["version"] == "v1"
    # A revision without its config is no version; the one that has it again is the same version.
    assert done(hf.commit(delete(config)))["version"] is None
    assert done(hf.push({config: files[config]}))["version"] == "v1"
    assert Version.objects.count() == 1


def test_what_is_whole_and_invalid_is_refused_in_our_words_and_nothing_is_published(hf, repository):
    broken = factories.adapter_files(config={"r": 9})
    answer = hf.push({"README.md": b"x", **broken})
    assert answer.status_code == 422
    assert answer.json()["error"] == answer.headers["X-Error-Message"]
    assert "rank 4, config says 9" in answer.json()["error"]
    assert not Revision.objects.exists()


def test_files_of_any_kind_are_stored_and_what_runs_is_not(hf, repository):
    done(
        hf.push(
            {"notes": b"plain", "data.xyz": b"\x01\x02", 'a/what? no: "x" 100%.txt': b"x", "lfs.bin": b"LFS content"}
        )
    )
    assert len(paths(repository)) == 4
    for path, data in {"x.bin": b"\x80\x04N.", "y": b"\x7fELF", "..\\z.txt": b"z", "old.pkl": b"(lp0\n."}.items():
        answer = hf.push({path: data})
        assert answer.status_code == 422, path
    assert len(paths(repository)) == 4


def test_operations_are_done_in_order(hf, repository):
    done(hf.push({"a.txt": b"a", "f/x.txt": b"x", "f/g/y.txt": b"y", "k.txt": b"k"}))
    done(hf.commit(delete("a.txt"), put("a.txt", b"new"), delete("f", folder=True), put("f/z.txt", b"z")))
    assert paths(repository) == ["a.txt", "f/z.txt", "k.txt"]
    done(hf.commit(delete("f")))  # a file's deletion that names a folder
    assert paths(repository) == ["a.txt", "k.txt"]
    answer = hf.commit(delete("nothing.txt"))
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert answer.json()["error"].startswith("A file with this name doesn't exist")
    assert done(hf.commit())["commitOid"] == head_of(repository, "main").oid  # an empty commit makes nothing


def test_bytes_are_named_by_who_sent_them_here_or_held_here(hf, people, repository):
    data = b"weights of somebody"
    oid = hashlib.sha256(data).hexdigest()
    other = factories.make_repository(people.owner, "other", namespace=people.lab)
    done(Hf(people.owner, other).push({"theirs.bin": data}))
    answer = hf.commit(lfs("mine.bin", oid))
    assert answer.status_code == 422
    assert "have not come" in answer.json()["error"]
    hf.arrive(data)
    done(hf.commit(lfs("mine.bin", oid, len(data))))
    done(hf.commit(lfs("copy.bin", oid)))  # held now; a copy names no size
    assert paths(repository) == ["copy.bin", "mine.bin"]
    assert hf.commit(lfs("again.bin", oid, len(data) + 1)).status_code == 422


def test_a_parent_that_is_not_the_head_is_412(hf, repository):
    first = done(hf.push({"a.txt": b"a"}))["commitOid"]
    second = done(hf.push({"a.txt": b"b"}, parentCommit=first[:8]))["commitOid"]
    answer = hf.push({"b.txt": b"b"}, parentCommit=first)
    assert answer.status_code == 412
    assert "The branch was updated since you opened this page. Please refresh and try again." in answer.json()["error"]
    assert head_of(repository, "main").oid == second
    assert hf.push({"b.txt": b"b"}, parentCommit="main").status_code == 400


@pytest.mark.parametrize("named", [False, True], ids=["without parent", "with parent"])
def test_the_same_commit_again_is_answered_the_same_and_made_once(hf, repository, named):
    parent = done(hf.push({"old.txt": b"x"}))["commitOid"]
    lines = [put(path, data) for path, data in factories.adapter_files().items()] + [delete("old.txt")]
    header = {"parentCommit": parent} if named else {}
    answers = [done(hf.commit(*lines, **header)) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["version"] == "v1"
    assert (Revision.objects.count(), Version.objects.count()) == (2, 1)
    # Deleting again what is gone is another commit, which is refused.
    done(hf.commit(delete("adapter_config.json")))
    assert hf.commit(delete("adapter_config.json")).status_code == 404


def test_a_branch_that_is_not_there_and_what_never_changes(hf, repository):
    version = done(hf.push(factories.adapter_files()))
    for rev in ("nowhere", "v1", "latest", version["commitOid"], "refs/tags/v1"):
        answer = hf.push({"a.txt": b"a"}, rev=rev)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RevisionNotFound"), rev
        assert hf.preupload({"a.txt": b"a"}, rev=rev).status_code == 404
    done(hf.push({"a.txt": b"a"}, rev="refs%2Fheads%2Fmain"))


def test_protected_branches_and_quotas_hold(hf, people, repository):
    done(hf.push({"a.txt": b"a"}))
    protections.protect(actor=people.owner, place=repository, pattern="main")
    assert hf.push({"b.txt": b"b"}).status_code == 403
    done(Hf(people.owner, repository).push({"b.txt": b"b"}))
    root = factories.make_user("root", is_staff=True)
    quotas.set_quota(actor=root, namespace=people.lab, stored_bytes=100)
    answer = Hf(people.owner, repository).push({"c.txt": b"c" * 200})
    assert answer.status_code == 409
    assert "at most 100" in answer.json()["error"]
    assert paths(repository) == ["a.txt", "b.txt"]


def test_who_may_not_write_is_told_before_the_body_is_read(people, repository, store):
    assert Hf(people.reader, repository).push({"a.txt": b"a"}).status_code == 403
    assert Hf(people.stranger, repository).push({"a.txt": b"a"}).status_code == 403
    assert Hf(None, repository).push({"a.txt": b"a"}).status_code == 401
    answer = Hf(people.member, "lab/none").push({"a.txt": b"a"})
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_a_model_first_filled_with_a_generator_becomes_one(hf, repository):
    done(hf.push({"README.md": b"# G\n"}))
    assert done(hf.push(factories.generator_files()))["version"] == "v1"
    repository.refresh_from_db()
    assert repository.kind == "generator"


def test_another_tools_format_is_imported_as_uploads_are(hf, repository, base):
    files, _ = foreign.mlx_lm()
    assert done(hf.push(files))["version"] == "v1"
    assert any(path.startswith("original/") for path in paths(repository))


def test_preupload_says_how_to_send_what_is_there_and_what_to_leave_out(hf, repository):
    done(hf.push({"a.txt": b"a", "w.bin": b"w", ".gitattributes": b"*.bin filter=lfs\n*.special filter=lfs\n"}))
    files = {"a.txt": b"a", "w.bin": b"w", "x.special": b"x", "empty.bin": b"", "optimizer.pt": b"PK\x03\x04"}
    answer = hf.preupload({**files, "runs/1/events.out.tfevents.9": b"e", "skip.log2": b"s"}, gitIgnore="*.log2\n")
    shown = {file["path"]: file for file in done(answer)["files"]}
    git_a = hashlib.sha1(b"blob 1\0a").hexdigest()
    assert shown["a.txt"] == {"path": "a.txt", "uploadMode": "regular", "shouldIgnore": False, "oid": git_a}
    assert shown["w.bin"]["oid"] == hashlib.sha256(b"w").hexdigest()
    assert [shown[path]["uploadMode"] for path in ("w.bin", "x.special", "empty.bin")] == ["lfs", "lfs", "regular"]
    ignored = {path for path, file in shown.items() if file["shouldIgnore"]}
    assert ignored == {"optimizer.pt", "runs/1/events.out.tfevents.9", "skip.log2"}
    assert "optimizer.pt" in answer.headers["X-HF-Warning"]
    assert hf.preupload({"a\\b.txt": b"x"}).status_code == 422
    assert "adapter_model.bin" in hf.preupload({"adapter_model.bin": b"PK\x03\x04"}).json()["error"]


def test_validate_yaml_needs_no_token(hf, base):
    def ask(content: str, **headers: str):
        sent = json.dumps({"content": content, "repoType": "model"})
        return hf.http.post("/api/validate-yaml", sent, content_type="application/json", headers=headers)

    good = ask("---\nlicense: mit\nbase_model: pico/llama\n---\n# Card")
    assert (good.status_code, good.json()) == (200, {"errors": [], "warnings": []})
    assert "empty or missing yaml metadata" in ask("# Card").json()["warnings"][0]["message"]
    assert "'pico/unknown'" in ask("---\nbase_model: pico/unknown\n---\n").json()["warnings"][0]["message"]
    assert ask("---\nlicense: asdf\n---\n").status_code == 400
    text = ask("---\nlicense: asdf\n---\n", Accept="text/plain").content.decode()
    assert text.startswith('- Error: "license" must be one of [')
    assert ask("---\na: [\n---\n").status_code == 400


def test_squashing_leaves_one_revision_and_keeps_versions(hf, repository):
    first = done(hf.push(factories.adapter_files()))
    done(hf.push({"a.txt": b"a"}))
    squashed = done(hf.post("/super-squash/main", {"message": "one"}))
    head = head_of(repository, "main")
    assert (head.oid, head.parent, head.message) == (squashed["commitOid"], None, "one")
    assert head.version.label == "v1"
    assert head.version.revision.oid == first["commitOid"]
    assert hf.post("/super-squash/nowhere", {"message": "x"}).status_code == 404
    assert not list(fsck.check(fsck.look()))


def test_lfs_files_are_listed_taken_out_of_branches_and_lent(hf, people, repository):
    done(hf.push({"a.bin": b"a", "b.txt": b"b", "c.bin": b"c"}))
    listed = done(hf.get("/lfs-files"))
    assert {(file["filename"], file["ref"]) for file in listed} == {
        ("a.bin", "refs/heads/main"),
        ("c.bin", "refs/heads/main"),
    }
    other = factories.make_repository(people.member, "mine")
    asked = {
        "target": {"type": "model", "name": "member/mine"},
        "files": [{"sha256": listed[0]["oid"]}, {"sha256": "0" * 64}],
    }
    assert [row["sha256"] for row in done(hf.post("/lfs-files/duplicate", asked))["failed"]] == ["0" * 64]
    done(Hf(people.member, other).commit(lfs("lent.bin", listed[0]["oid"])))
    done(hf.post("/lfs-files/batch", {"deletions": {"sha": [listed[0]["fileOid"]], "rewriteHistory": True}}))
    assert paths(repository) == ["b.txt", "c.bin"]


def test_bytes_are_not_lent_from_what_one_can_t_see(people, store):
    secret = factories.make_repository(people.owner, "secret", namespace=people.lab, visibility="private")
    done(Hf(people.owner, secret).push({"a.bin": b"a"}))
    factories.make_repository(people.stranger, "mine")
    asked = {
        "target": {"type": "model", "name": "stranger/mine"},
        "files": [{"sha256": hashlib.sha256(b"a").hexdigest()}],
    }
    answer = Hf(people.stranger, secret).post("/lfs-files/duplicate", asked)
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_a_program_is_a_text_until_weights_lie_beside_it(hf, repository):
    """In either order: what is there already counts as what comes."""
    assert done(hf.push({"app.py": b"print(1)\n"}))["version"] is None
    refused = hf.push(factories.adapter_files())
    assert refused.status_code == 422 and "app.py" in refused.json()["error"]
    assert done(hf.commit(delete("app.py"), *(put(p, d) for p, d in factories.adapter_files().items())))["version"]
    assert hf.push({"app.py": b"print(1)\n"}).status_code == 422
    assert paths(repository) == sorted(factories.adapter_files())


def test_what_lies_in_a_folder_is_not_taken_for_weights_by_its_name(hf, repository):
    assert done(hf.push({"logs/run.safetensors": b"1" * 2000}))["version"] is None
    assert hf.push({"run.safetensors": b"1" * 2000}).status_code == 422
    assert hf.push({"logs/page.safetensors": b"<!DOCTYPE html><html>"}).status_code == 422


def test_bytes_inside_a_commit_are_held_against_their_users_quota_as_they_come(hf, repository, root, monkeypatch):
    monkeypatch.setattr(committing, "STEP", 10_000)
    quotas.set_quota(actor=root, user=hf.user, staged_bytes=100_000)
    large = body(put("large.txt", b"x" * 2_000_000))
    refused = hf.post("/commit/main", raw=large)
    assert refused.status_code == 409 and ("staged" in refused.json()["error"] or "uploads" in refused.json()["error"])
    coming = io.BytesIO(large)  # Where the sender doesn't say how much it is.
    with committing.bench(actor=hf.user) as inline, pytest.raises(QuotaExceeded):
        read_commit(coming, inline.keep)
    assert coming.tell() < len(large) // 2
    assert done(hf.push({"small.txt": b"x" * 50_000}))
    assert paths(repository) == ["small.txt"]
