"""Proposals: what a stranger may propose and never touch, how it is merged, and what clashes."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from hub.models import ManifestEntry, PullRequest, Ref, Repository, Revision, Stored, Usage, Version
from hub.queries.quota import LIMITS
from hub.services import protections, quotas, repositories
from hub.services.content.manifest import manifest_of
from hub.services.content.publishing import head_of
from hub.services.repositories import delete_repository
from hub.services.sharing import pulls
from hub.services.upkeep import fsck
from hub.services.upkeep.garbage import collect_garbage
from hub.services.upkeep.purge import purge_repository
from tests.hub import factories
from tests.hub.hf.wire import Hf, delete, put

pytestmark = pytest.mark.django_db
REST = "/api/v1/repositories/lab/sentiment"
JSON = {"content_type": "application/json"}


class Place:
    """A public repository of `lab` with v1 and a card, and calls to it as its members and as a stranger."""

    def __init__(self, people, repository) -> None:
        repositories.update_repository(actor=people.owner, repository=repository, visibility="public")
        self.people, self.repository = people, Repository.objects.get(pk=repository.pk)
        self.files = factories.adapter_files(card="# First\n")
        factories.publish(people.owner, self.repository, self.files)
        self.owner, self.member, self.stranger = (
            Hf(user, self.repository) for user in (people.owner, people.member, people.stranger)
        )

    def row(self) -> dict:
        """What a stranger may not move."""
        rows = Repository.objects.filter(pk=self.repository.pk).values()
        refs = Ref.objects.filter(repository=self.repository).exclude(kind="pull").values_list("name", "revision")
        usage = Usage.objects.filter(namespace=self.repository.namespace).values_list("stored_bytes", "stored_files")
        return {
            "row": rows.get(),
            "refs": sorted(refs),
            "versions": Version.objects.count(),
            "usage": usage.get(),
            "stored": Stored.objects.count(),
        }

    def head(self, name: str = "main") -> Revision:
        return head_of(self.repository, name)


@pytest.fixture
def here(people, repository, base, store) -> Place:
    return Place(people, repository)


def propose(hf: Hf, *lines: dict, rev: str = "main", **header):
    from tests.hub.hf.wire import body

    return hf.post(f"/commit/{rev}?create_pr=1", raw=body(*lines, **header))


def done(answer) -> dict:
    assert answer.status_code < 300, answer.content
    return answer.json()


def card(text: str = "# Better\n") -> dict:
    return put("README.md", text.encode())


class TestAStranger:
    def test_proposes_a_whole_adapter_and_moves_nothing(self, here):
        before = here.row()
        files = factories.adapter_files(seed=7, card="# Mine\n")
        made = done(propose(here.stranger, *(put(path, data) for path, data in files.items()), summary="Better"))
        assert made["pullRequestUrl"] == "http://testserver/lab/sentiment/discussions/1"
        assert made["version"] is None
        assert here.row() == before
        pull = PullRequest.objects.get()
        assert (pull.number, pull.title, pull.author, pull.target) == (1, "Better", here.people.stranger, "main")
        assert pull.found["whole"] is True
        assert set(manifest_of(here.head("refs/pr/1"))) == set(files)
        assert here.head("refs/pr/1").oid == made["commitOid"]

    def test_is_refused_what_a_push_would_be_refused_and_leaves_nothing(self, here):
        broken = factories.adapter_files(config={"r": 5})
        answer = propose(here.stranger, *(put(path, data) for path, data in broken.items()))
        assert answer.status_code == 422
        assert propose(here.stranger, put("a.bin", b"\x80\x04\x95.")).status_code == 422
        assert not PullRequest.objects.exists()
        assert not Ref.objects.filter(kind="pull").exists()

    def test_sends_it_twice_and_has_opened_one(self, here):
        first, second = (done(propose(here.stranger, card(), summary="Once")) for _ in range(2))
        assert (first["commitOid"], first["pullRequestUrl"]) == (second["commitOid"], second["pullRequestUrl"])
        done(propose(here.stranger, card("# Another\n"), summary="Once"))
        assert PullRequest.objects.count() == 2

    def test_goes_on_with_their_own_and_with_no_other(self, here):
        done(propose(here.stranger, card()))
        done(here.stranger.push({"notes.md": b"more"}, rev="refs/pr/1"))
        assert set(manifest_of(here.head("refs/pr/1"))) == {*here.files, "notes.md"}
        done(propose(here.member, card("# Ours\n")))
        assert here.stranger.push({"notes.md": b"more"}, rev="refs/pr/2").status_code == 403
        assert done(here.member.push({"x.md": b"by a writer"}, rev="refs/pr/1"))

    def test_can_not_write_to_a_branch_nor_merge(self, here):
        done(propose(here.stranger, card()))
        assert here.stranger.push({"README.md": b"# Mine\n"}).status_code == 403
        assert here.stranger.post("/discussions/1/merge").status_code == 403
        assert Client().post(f"{REST}/pulls/1/merge", headers=here.stranger.headers).status_code == 403

    def test_sees_nothing_of_what_is_private(self, here):
        repositories.update_repository(actor=here.people.owner, repository=here.repository, visibility="private")
        assert propose(here.stranger, card()).status_code == 404
        assert here.stranger.get("/discussions").status_code == 404

    def test_proposes_nothing_where_they_may_not_have_the_files(self, here):
        repositories.update_repository(actor=here.people.owner, repository=here.repository, gate="manual")
        assert propose(here.stranger, card()).headers["X-Error-Code"] == "GatedRepo"
        assert done(propose(here.member, card()))

    def test_needs_a_token_that_may_write(self, here):
        reading = Hf(here.people.stranger, here.repository, scopes=["read"])
        assert propose(reading, card()).status_code == 403
        assert propose(Hf(None, here.repository), card()).status_code == 401


class TestBounds:
    def test_bytes_count_for_the_author_until_the_merge(self, here):
        quotas.set_quota(actor=factories.make_user("root", is_staff=True), user=here.people.stranger, proposed_bytes=60)
        done(propose(here.stranger, put("a.md", b"x" * 40)))
        answer = here.stranger.push({"b.md": b"y" * 40}, rev="refs/pr/1")
        assert answer.status_code == 409
        assert "bytes proposed and not merged" in answer.json()["error"]
        done(here.owner.post("/discussions/1/merge"))
        done(propose(here.stranger, put("b.md", b"y" * 40)))

    def test_what_the_namespace_has_already_costs_nothing(self, here):
        quotas.set_quota(actor=factories.make_user("root", is_staff=True), user=here.people.stranger, proposed_bytes=1)
        done(propose(here.stranger, put("copy.md", here.files["README.md"])))

    def test_the_namespace_is_charged_at_the_merge_and_counted_right(self, here):
        before = Usage.objects.get(namespace=here.repository.namespace).stored_bytes
        done(propose(here.stranger, put("a.md", b"x" * 40)))
        assert quotas.miscounted(here.repository.namespace) == 0
        done(here.owner.post("/discussions/1/merge"))
        assert Usage.objects.get(namespace=here.repository.namespace).stored_bytes == before + 40
        assert quotas.miscounted(here.repository.namespace) == 0

    @pytest.mark.parametrize("how", ["tag", "branch", "tag over REST"])
    def test_the_namespace_is_charged_when_a_writer_gives_it_a_name(self, here, how):
        namespace, root = here.repository.namespace, factories.make_user("root", is_staff=True)
        before = Usage.objects.get(namespace=namespace).stored_bytes
        done(propose(here.stranger, put("a.md", b"x" * 40)))
        done(here.stranger.push({"a.md": b"z" * 7, "b.md": b"y" * 20}, rev="refs/pr/1"))
        head = here.head("refs/pr/1")
        name_it = {
            "tag": lambda: here.member.post("/tag/refs%2Fpr%2F1", {"tag": "kept"}),
            "branch": lambda: here.member.post("/branch/kept", {"startingPoint": "refs/pr/1"}),
            "tag over REST": lambda: Client().put(
                f"{REST}/tags/kept", {"ref": head.oid}, headers=here.member.headers, **JSON
            ),
        }[how]
        quotas.set_quota(actor=root, namespace=namespace, stored_bytes=before + 66)
        refused = name_it()
        assert refused.status_code == 409 and "stored" in refused.content.decode()
        assert not Ref.objects.filter(name="kept").exists()
        assert LIMITS["proposed_bytes"].count(here.people.stranger) == 67
        quotas.set_quota(actor=root, namespace=namespace, stored_bytes=before + 67)
        done(name_it())
        assert Usage.objects.get(namespace=namespace).stored_bytes == before + 67, "its first push is in the history"
        assert LIMITS["proposed_bytes"].count(here.people.stranger) == 0
        done(here.stranger.push({"c.md": b"c" * 5}, rev="refs/pr/1"))
        assert LIMITS["proposed_bytes"].count(here.people.stranger) == 5, "what came after is only proposed"
        assert quotas.miscounted(namespace) == 0
        assert not list(fsck.check(fsck.look()))

    def test_open_ones_of_a_user_in_a_repository(self, here, monkeypatch):
        monkeypatch.setattr(pulls, "OPEN_HERE", 2)
        for _ in range(2):
            done(here.stranger.post("/discussions", {"title": "One", "pullRequest": True}))
        refused = here.stranger.post("/discussions", {"title": "One", "pullRequest": True})
        assert (refused.status_code, PullRequest.objects.count()) == (409, 2)
        done(here.stranger.post("/discussions/1/status", {"status": "closed"}))
        done(here.stranger.post("/discussions", {"title": "One", "pullRequest": True}))
        assert here.stranger.post("/discussions/1/status", {"status": "open"}).status_code == 409

    def test_open_ones_of_a_user(self, here):
        root = factories.make_user("root", is_staff=True)
        quotas.set_quota(actor=root, user=here.people.stranger, open_proposals=1)
        done(propose(here.stranger, card()))
        assert propose(here.stranger, card("# Other\n")).status_code == 409
        assert PullRequest.objects.count() == 1


class TestMerge:
    def test_makes_one_revision_and_the_version(self, here):
        files = factories.adapter_files(seed=7)
        before = here.head()
        done(propose(here.stranger, *(put(path, data) for path, data in files.items()), summary="Better"))
        done(here.stranger.push({"notes.md": b"more"}, rev="refs/pr/1"))
        merged = done(here.member.post("/discussions/1/merge"))
        head = here.head()
        assert (merged["commitOid"], merged["version"]) == (head.oid, "v2")
        assert (head.parent, head.message, head.author) == (before, "Better (#1)", here.people.member)
        assert set(manifest_of(head)) == {*files, "README.md", "notes.md"}
        pull = PullRequest.objects.get()
        assert (pull.state, pull.merged_as, pull.closed_by) == ("merged", head, here.people.member)
        assert not Revision.objects.filter(pk=head.pk, pull__isnull=False).exists()

    def test_keeps_what_others_changed_since(self, here):
        done(propose(here.stranger, card()))
        done(here.owner.push({"notes.md": b"ours"}))
        done(here.owner.post("/discussions/1/merge"))
        assert set(manifest_of(here.head())) == {*here.files, "notes.md"}

    def test_is_refused_where_both_changed_a_file_and_stays_open(self, here):
        done(propose(here.stranger, card()))
        done(here.owner.push({"README.md": b"# Ours\n"}))
        assert done(here.stranger.get("/discussions/1"))["filesWithConflicts"] == ["README.md"]
        refused = here.owner.post("/discussions/1/merge")
        assert refused.status_code == 409
        assert "README.md" in refused.json()["error"]
        assert PullRequest.objects.get().state == "open"

    def test_takes_a_file_out(self, here):
        done(propose(here.stranger, delete("README.md")))
        done(here.owner.post("/discussions/1/merge"))
        assert "README.md" not in manifest_of(here.head())

    def test_of_nothing_is_refused(self, here):
        done(here.stranger.post("/discussions", {"title": "Empty", "pullRequest": True}))
        assert here.owner.post("/discussions/1/merge").status_code == 409

    def test_into_a_protected_branch_is_for_admins(self, here):
        protections.protect(actor=here.people.owner, place=here.repository, pattern="main")
        done(propose(here.stranger, card()))
        assert here.member.post("/discussions/1/merge").status_code == 403
        done(here.owner.post("/discussions/1/merge"))

    def test_happens_once(self, here):
        done(propose(here.stranger, card()))
        done(here.owner.post("/discussions/1/merge"))
        assert here.owner.post("/discussions/1/merge").status_code == 409
        assert here.stranger.push({"notes.md": b"late"}, rev="refs/pr/1").status_code == 409
        assert here.stranger.post("/discussions/1/status", {"status": "open"}).status_code == 409

    def test_goes_to_the_branch_that_it_is_for(self, here):
        done(here.owner.post("/branch/next", {}))
        done(propose(here.stranger, card(), rev="next"))
        main = here.head()
        done(here.owner.post("/discussions/1/merge"))
        assert here.head() == main
        assert here.head("next").message.endswith("(#1)")

    def test_takes_the_very_revision_where_it_is_the_same(self, here):
        """A merge may say the same of the same files as a push; then that revision is the branch's, and counts."""
        pull, _ = pulls.propose(
            actor=here.people.stranger,
            repository=here.repository,
            title="x",
            message="x (#1)",
            files=factories.store({"a.md": b"a"}),
        )
        result = pulls.merge(actor=here.people.owner, pull=pull)
        assert result.revision.pull is None
        assert quotas.miscounted(here.repository.namespace) == 0

    @pytest.mark.parametrize("rev", ["none", "v1", "latest"])
    def test_a_target_is_a_branch(self, here, rev):
        assert propose(here.stranger, card(), rev=rev).headers["X-Error-Code"] == "RevisionNotFound"


class TestReading:
    def test_refs_pr_is_read_by_everyone_who_sees_the_repository(self, here):
        made = done(propose(here.stranger, card()))
        anyone = Hf(None, here.repository)
        assert done(anyone.get("/revision/refs%2Fpr%2F1"))["sha"] == made["commitOid"]
        text = Client().get("/lab/sentiment/resolve/refs%2Fpr%2F1/README.md")
        assert b"".join(text.streaming_content if text.streaming else [text.content]) == b"# Better\n"
        refs = done(anyone.get("/refs?include_prs=1"))
        assert [(row["ref"], row["targetCommit"]) for row in refs["pullRequests"]] == [("refs/pr/1", made["commitOid"])]
        assert "pullRequests" not in done(anyone.get("/refs"))

    def test_a_tag_may_point_at_what_is_proposed(self, here):
        made = done(propose(here.stranger, card()))
        done(here.owner.post("/tag/refs%2Fpr%2F1", {"tag": "trial"}))
        assert done(here.owner.get("/revision/trial"))["sha"] == made["commitOid"]

    def test_it_is_no_version_to_a_job(self, here):
        files = factories.adapter_files(seed=7)
        done(propose(here.stranger, *(put(path, data) for path, data in files.items())))
        assert Client().get(f"{REST}/versions/{here.head('refs/pr/1').oid}").status_code == 404

    def test_the_list_and_one(self, here):
        done(propose(here.stranger, card(), summary="One", description="Why.\nSo."))
        done(propose(here.member, put("a.md", b"a"), summary="Two"))
        done(here.member.post("/discussions/2/status", {"status": "closed"}))
        listed = done(here.stranger.get("/discussions"))
        assert [row["num"] for row in listed["discussions"]] == [2, 1]
        assert (listed["count"], listed["start"]) == (2, 0)
        for query, numbers in {
            "status=open": [1],
            "status=closed": [2],
            "author=stranger": [1],
            "type=discussion": [],
            "type=pull_request": [2, 1],
            "p=1": [],
        }.items():
            found = done(here.stranger.get(f"/discussions?{query}"))["discussions"]
            assert [row["num"] for row in found] == numbers, query
        shown = done(here.stranger.get("/discussions/1?diff=1"))
        assert shown["events"][0]["data"]["latest"]["raw"] == "Why.\nSo."
        assert [event["type"] for event in shown["events"]] == ["comment", "commit"]
        assert "-# First\n+# Better" in shown["diff"]

    def test_the_diff_of_a_gated_one_is_the_cards_to_who_may_not_have_the_files(self, here):
        done(propose(here.member, card(), put("data.txt", b"secret words")))
        repositories.update_repository(actor=here.people.owner, repository=here.repository, gate="manual")
        assert "secret words" in done(here.member.get("/discussions/1?diff=1"))["diff"]
        shown = done(here.stranger.get("/discussions/1?diff=1"))["diff"]
        assert "secret words" not in shown
        assert "# Better" in shown


class TestTalking:
    def test_title_and_status_are_its_authors_and_writers(self, here):
        done(propose(here.stranger, card(), summary="One"))
        done(propose(here.member, put("a.md", b"a")))
        event = done(here.stranger.post("/discussions/1/title", {"title": "New"}))["newTitle"]
        assert event["data"] == {"from": "One", "to": "New"}
        assert done(here.member.post("/discussions/1/status", {"status": "closed"}))["newStatus"]["data"] == {
            "status": "closed"
        }
        assert here.stranger.post("/discussions/2/title", {"title": "Mine"}).status_code == 403
        events = done(here.stranger.get("/discussions/1"))["events"]
        assert [row["type"] for row in events] == ["comment", "commit", "title-change", "status-change"]

    def test_comments_are_refused_in_words_and_told_where_they_come_along(self, here):
        done(propose(here.stranger, card()))
        refused = here.stranger.post("/discussions/1/comment", {"comment": "Hi"})
        assert (refused.status_code, refused.headers["X-Error-Message"][:21]) == (403, "Comments are not kept")
        closed = here.stranger.post("/discussions/1/status", {"status": "closed", "comment": "Enough"})
        assert "Comments are not kept" in closed.headers["X-HF-Warning"]

    def test_another_discussion_is_refused_in_words(self, here):
        refused = here.stranger.post("/discussions", {"title": "Hi", "pullRequest": False})
        assert (refused.status_code, "no other discussions" in refused.json()["error"]) == (403, True)

    def test_an_empty_repository_has_nothing_to_change_but_takes_files(self, here, people):
        empty = Hf(people.stranger, factories.make_repository(people.owner, "empty", namespace=people.lab))
        assert empty.post("/discussions", {"title": "One", "pullRequest": True}).status_code == 409
        assert done(propose(empty, put("a.md", b"a")))["pullRequestUrl"].endswith("/1")
        done(Hf(people.owner, empty.repository).post("/discussions/1/merge"))

    def test_a_generator_makes_an_empty_model_a_generator_at_the_merge_alone(self, here, people):
        empty = Hf(people.stranger, factories.make_repository(people.owner, "gen", namespace=people.lab))
        done(propose(empty, *(put(path, data) for path, data in factories.generator_files().items())))
        assert Repository.objects.get(name="gen").kind == "adapter"
        assert done(Hf(people.owner, empty.repository).post("/discussions/1/merge"))["version"] == "v1"
        assert Repository.objects.get(name="gen").kind == "generator"


class TestOtherDoors:
    def test_rest_lists_shows_changes_and_merges(self, here):
        done(propose(here.stranger, card(), summary="One"))
        http = Client(headers=here.owner.headers)
        assert [row["title"] for row in http.get(f"{REST}/pulls").json()["results"]] == ["One"]
        shown = http.get(f"{REST}/pulls/1").json()
        assert shown["files"] == [{"path": "README.md", "change": "changed", "size_before": 8, "size_after": 9}]
        assert http.patch(f"{REST}/pulls/1", {"state": "closed"}, **JSON).json()["state"] == "closed"
        assert http.post(f"{REST}/pulls/1/merge").status_code == 409
        http.patch(f"{REST}/pulls/1", {"state": "open"}, **JSON)
        assert http.post(f"{REST}/pulls/1/merge").json()["version"] == "v1"
        assert http.get(f"{REST}/pulls?state=open").json()["results"] == []

    def test_the_pages_show_it_and_merge_it(self, here):
        done(propose(here.stranger, card("# Better\n\n<script>x</script>\n"), summary="A <b>card</b>"))
        page = Client().get("/lab/sentiment/discussions").content.decode()
        assert "A &lt;b&gt;card&lt;/b&gt;" in page
        stranger, owner = Client(), Client()
        stranger.force_login(here.people.stranger), owner.force_login(here.people.owner)
        shown = stranger.get("/lab/sentiment/discussions/1").content.decode()
        assert "+&lt;script&gt;x" in shown
        assert ("Merge into" in shown, "Close" in shown) == (False, True)
        assert stranger.post("/lab/sentiment/discussions/1", {"act": "merge"}).status_code == 403
        assert "Merge into main" in owner.get("/lab/sentiment/discussions/1").content.decode()
        owner.post("/lab/sentiment/discussions/1", {"act": "merge"})
        assert "merged by owner" in owner.get("/lab/sentiment/discussions/1").content.decode()

    def test_a_clash_is_told_on_the_page(self, here):
        done(propose(here.stranger, card()))
        done(here.owner.push({"README.md": b"# Ours\n"}))
        owner = Client()
        owner.force_login(here.people.owner)
        assert "can't be merged as it is" in owner.get("/lab/sentiment/discussions/1").content.decode()
        assert owner.post("/lab/sentiment/discussions/1", {"act": "merge"}).status_code == 409


class TestUpkeep:
    def test_a_hub_with_proposals_is_whole(self, here):
        done(propose(here.stranger, card()))
        done(propose(here.stranger, put("adapter_config.json", b"{}"), delete("adapter_model.safetensors")))
        done(here.owner.post("/discussions/1/merge"))
        assert not list(fsck.check(fsck.look()))

    def test_the_files_of_closed_ones_are_let_go_of(self, here):
        done(propose(here.stranger, put("a.md", b"a" * 40)))
        done(here.stranger.push({"b.md": b"b"}, rev="refs/pr/1"))
        done(propose(here.stranger, put("c.md", b"c")))
        done(here.owner.post("/tag/refs%2Fpr%2F2", {"tag": "kept"}))
        for number in (1, 2):
            done(here.stranger.post(f"/discussions/{number}/status", {"status": "closed"}))
        assert collect_garbage().uploads == 0
        PullRequest.objects.update(closed_at=timezone.now() - timedelta(days=8))
        assert collect_garbage(dry_run=True).uploads == 1
        assert collect_garbage().uploads == 1
        assert not Revision.objects.filter(pull__number=1).exists()
        assert "c.md" in manifest_of(Ref.objects.get(name="kept").revision)
        assert LIMITS["proposed_bytes"].count(here.people.stranger) == 0, "what is tagged is the namespace's"
        assert here.stranger.post("/discussions/1/status", {"status": "open"}).status_code == 409
        assert done(here.stranger.get("/discussions/1?diff=1"))["diff"] == ""
        assert "let go of" in Client().get("/lab/sentiment/discussions/1").content.decode()
        assert not list(fsck.check(fsck.look()))

    def test_they_go_with_their_repository(self, here):
        done(propose(here.stranger, card()))
        delete_repository(actor=here.people.owner, repository=here.repository)
        purge_repository(actor=here.people.owner, repository=here.repository)
        assert not PullRequest.objects.exists()
        assert not ManifestEntry.objects.exists()
        assert quotas.miscounted(here.repository.namespace) == 0
