"""Two calls of the protocol at once: every history stays a line, nobody writes where they may not any more, no 500.

Run on whatever database the tests have; `test_postgres.py` runs this file again on PostgreSQL.
"""

from functools import partial

import pytest

from hub.models import PullRequest, Repository, Revision, Version
from hub.services import repositories
from hub.services.sharing import pulls
from hub.services.upkeep import fsck
from tests.hub import factories
from tests.hub.hf.asking import Asker
from tests.hub.hf.wire import Hf, body, put
from tests.hub.test_parallel import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]


@pytest.fixture
def hf(people, repository, base) -> Hf:
    """The writer of `lab` at `lab/sentiment`, which has v1."""
    factories.push(people.owner, repository, factories.adapter_files())
    return Hf(people.member, repository)


def statuses(answers) -> list[int]:
    assert not [one for one in answers if isinstance(one, Exception)], answers
    return sorted(one.status_code for one in answers)


def assert_whole(repository) -> None:
    """One line of revisions from `main` to its begin, and nothing that fsck finds."""
    assert not list(fsck.check(fsck.look()))
    rows = Revision.objects.filter(repository=repository)
    assert len({row.parent_id for row in rows}) == rows.count()


def test_of_two_commits_with_one_parent_the_second_is_412(hf, repository):
    parent = Revision.objects.get(repository=repository).oid
    acts = [partial(hf.commit, put(f"{name}.txt", name.encode()), parentCommit=parent) for name in ("a", "b")]
    assert statuses(at_once(*acts)) == [200, 412]
    assert_whole(repository)


def test_one_commit_sent_twice_is_made_once(hf, repository):
    files = factories.adapter_files(seed=7)
    answers = at_once(*[partial(hf.push, files, summary="once")] * 2)
    assert statuses(answers) == [200, 200]
    assert len({one.json()["commitOid"] for one in answers}) == 1
    assert Version.objects.filter(repository=repository).count() == 2
    assert_whole(repository)


@pytest.mark.parametrize("change", ["delete", "hide", "move"])
def test_a_commit_while_the_repository_goes_is_made_or_refused(hf, people, repository, change):
    admin = Asker(people.owner)
    moved = {"fromRepo": "lab/sentiment", "toRepo": "lab/feeling", "type": "model"}
    acts = {
        "delete": partial(repositories.delete_repository, actor=people.owner, repository=repository),
        "hide": partial(admin, "PUT", "/api/models/lab/sentiment/settings", {"private": True}),
        "move": partial(admin, "POST", "/api/repos/move", moved),
    }
    answer, other = at_once(partial(hf.push, factories.adapter_files(seed=5)), acts[change])
    assert not isinstance(other, Exception), other
    assert answer.status_code in {"delete": (200, 404, 409), "hide": (200,), "move": (200, 307)}[change], answer.content
    assert_whole(repository)
    assert Repository.objects.count() == 1


def test_a_proposal_that_is_merged_pushed_to_and_closed_at_once_has_one_end(hf, people, repository):
    proposer = Hf(people.stranger, repository)
    made = proposer.post("/commit/main?create_pr=1", raw=body(put("a.txt", b"1"), summary="mine"))
    assert made.status_code == 200, made.content
    admin, address = Asker(people.owner), "/api/models/lab/sentiment/discussions/1"
    answers = at_once(
        partial(admin, "POST", f"{address}/merge"),
        partial(admin, "POST", f"{address}/merge"),
        partial(proposer.commit, put("a.txt", b"2"), rev="refs%2Fpr%2F1"),
        partial(admin, "POST", f"{address}/status", {"status": "closed"}),
    )
    assert set(statuses(answers)) <= {200, 409} and statuses(answers[:2]) != [200, 200]
    pull = PullRequest.objects.get()
    assert (pull.state == "merged") == (pull.merged_as is not None) == (200 in statuses(answers[:2]))
    assert not list(fsck.check(fsck.look()))


def test_proposals_at_once_get_numbers_of_their_own_within_the_limit(hf, people, repository, monkeypatch):
    monkeypatch.setattr(pulls, "OPEN_HERE", 3)
    asker = Asker(people.stranger)
    told = {"title": "mine", "pullRequest": True}
    answers = at_once(*[partial(asker, "POST", "/api/models/lab/sentiment/discussions", told)] * 5)
    assert statuses(answers) == [200, 200, 200, 409, 409]
    assert sorted(PullRequest.objects.values_list("number", flat=True)) == [1, 2, 3]
