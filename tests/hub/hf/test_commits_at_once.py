"""Commits that meet each other, or whose server is killed in the middle: a line of whole revisions, or none."""

import os
import signal
from functools import partial

import pytest
from django.db import connection

from hub.models import Arrival, Blob, Revision, Version
from hub.services.commits import committing
from hub.services.content import facets
from hub.services.content.manifest import manifest_of
from hub.services.content.publishing import head_of
from hub.services.upkeep import fsck
from tests.hub import factories
from tests.hub.hf.wire import Hf, lfs, put
from tests.hub.test_parallel import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store", "base")]


@pytest.fixture
def writers(people, repository) -> list[Hf]:
    """Two who may write to `lab/sentiment`, which has a first commit."""
    made = [Hf(people.member, repository), Hf(people.owner, repository)]
    assert made[0].push({"README.md": b"# First\n"}).status_code == 200
    return made


def test_of_two_commits_for_one_head_one_is_told_to_look_again(writers, repository):
    def push(hf: Hf, path: str, parent: str):
        return hf.push({path: b"x"}, parentCommit=parent)

    for turn in range(3):
        parent = head_of(repository, "main").oid
        acts = [partial(push, hf, f"{turn}-{number}.txt", parent) for number, hf in enumerate(writers)]
        assert sorted(answer.status_code for answer in at_once(*acts)) == [200, 412]
        assert head_of(repository, "main").parent.oid == parent


def test_two_commits_without_a_parent_both_count_and_weights_are_never_mixed(writers, repository):
    files = [factories.adapter_files(rank=rank, seed=rank) for rank in (2, 4)]
    acts = [
        lambda hf=hf, one=one: hf.push({**one, f"{len(one)}.txt": b"x"}) for hf, one in zip(writers, files, strict=True)
    ]
    statuses = sorted(answer.status_code for answer in at_once(*acts))
    assert statuses in ([200, 200], [200, 409])
    assert Version.objects.count() == statuses.count(200)
    assert not list(fsck.check(fsck.look()))


def test_the_same_commit_twice_at_once_is_one_version(writers, repository):
    lines = [put(path, data) for path, data in factories.adapter_files().items()]
    answers = at_once(*[lambda: writers[0].commit(*lines) for _ in range(2)])
    assert {answer.json()["version"] for answer in answers} == {"v1"}
    assert len({answer.json()["commitOid"] for answer in answers}) == 1
    assert (Revision.objects.count(), Version.objects.count()) == (2, 1)


@pytest.mark.parametrize("moment", ["before the rows", "among the rows"])
def test_a_server_killed_in_the_middle_leaves_nothing_half_and_the_commit_goes_on(writers, repository, moment):
    hf, files = writers[0], factories.adapter_files()
    weights = files["adapter_model.safetensors"]
    oid = hf.arrive(weights)
    lines = [put("adapter_config.json", files["adapter_config.json"]), lfs("adapter_model.safetensors", oid)]
    before = head_of(repository, "main")
    connection.close()
    if (pid := os.fork()) == 0:
        kill = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        if moment == "before the rows":
            committing.lock = kill
        else:
            facets.refresh = kill
        hf.commit(*lines)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert head_of(repository, "main") == before
    assert (Revision.objects.count(), Version.objects.count(), Arrival.objects.count()) == (1, 0, 1)
    assert not list(fsck.check(fsck.look()))
    assert hf.commit(*lines).json()["version"] == "v1"
    assert sorted(manifest_of(head_of(repository, "main"))) == ["README.md", *sorted(files)]
    assert Blob.objects.filter(pk=oid).exists() and not Arrival.objects.exists()
