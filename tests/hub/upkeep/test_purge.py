"""Deleted for good: what is gone, what others keep speaking of, and who may do it."""

import io

import pytest

from hub import access, queries
from hub.errors import Conflict, NotFound
from hub.models import Blob, Event, Job, JobFile, ManifestEntry, Parentage, Repository, Revision, Version
from hub.services import repositories
from hub.services.content import companions
from hub.services.content.collection import timedelta, unreferenced
from hub.services.upkeep import runner
from hub.services.upkeep.garbage import collect_garbage
from hub.services.upkeep.purge import purge_repository
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
SEEDS = b'{"prompt": "a", "completion": "b"}\n'


def purge(user, repository) -> None:
    repositories.delete_repository(actor=user, repository=repository)
    purge_repository(actor=user, repository=repository)


@pytest.fixture
def parent(people, base) -> Version:
    """Two versions with a card, a companion and an upload under way."""
    made = factories.make_version(people.owner, "parent", base=base, namespace=people.lab, card="# Secret words\n")
    repository = made.repository
    factories.push(people.owner, repository, factories.adapter_files(seed=2))
    companions.add_companion(
        actor=people.owner, repository=repository, kind="seeds", name="s.jsonl", stream=io.BytesIO(SEEDS)
    )
    factories.begin(people.owner, repository, factories.adapter_files(seed=3))
    return made


def test_nothing_is_left_where_nobody_speaks_of_it(people, parent):
    purge(people.owner, parent.repository)
    assert not Repository.objects.exists() and not Version.objects.exists() and not ManifestEntry.objects.exists()
    assert unreferenced().count() == Blob.objects.count() > 0
    collect_garbage(grace=timedelta(0))
    assert not Blob.objects.exists()
    assert Event.objects.filter(verb="repository.purge", object="lab/parent", actor=people.owner).exists()
    factories.make_repository(people.owner, "parent", namespace=people.lab)


def test_a_tombstone_keeps_the_lineage_of_others_and_no_words_of_its_own(people, base, parent):
    child = factories.make_repository(people.member, "child", namespace=people.lab)
    made = factories.publish(people.member, child, factories.adapter_files(seed=9), parents=[parent]).version
    purge(people.owner, parent.repository)
    stone = Repository.objects.get(pk=parent.repository_id)
    assert stone.purged_at and Version.objects.filter(repository=stone).count() == 1
    kept = Version.objects.get(pk=parent.pk)
    assert (kept.number, kept.content_digest, kept.facts) == (1, parent.content_digest, {})
    assert not Revision.objects.filter(repository=stone).exists()
    viewer = access.Viewer(user=people.owner)
    (seen,) = queries.lineage(viewer, made)["parents"]
    assert seen == {"hidden": True, "position": 0}
    assert not queries.trash(viewer).exists(), "it can't be restored"
    api = Api(people.owner)
    for path in ("restore", "purge"):
        problem(api.post(f"/repositories/lab/parent/{path}"), 404, "not_found")
        problem(api.post(f"/repositories/lab/{stone.name}/{path}"), 404, "not_found")
    factories.make_version(people.owner, "parent", base=base, namespace=people.lab)
    purge(people.member, child)
    assert Parentage.objects.count() == 0
    runner.run_due(names=["trash"])
    assert list(Repository.objects.values_list("name", flat=True)) == ["parent"]


def test_versions_between_its_own_are_kept_with_the_one_that_others_speak_of(people, base, parent):
    second = factories.publish(
        people.owner, parent.repository, factories.adapter_files(seed=4), parents=[parent]
    ).version
    child = factories.make_repository(people.owner, "child", namespace=people.lab)
    factories.publish(people.owner, child, factories.adapter_files(seed=9), parents=[second])
    purge(people.owner, parent.repository)
    kept = Version.objects.filter(repository_id=parent.repository_id)
    assert set(kept) == {parent, second} and Parentage.objects.filter(child=second, parent=parent).exists()


def test_a_job_that_read_it_says_so_when_it_is_tried_again(people, parent):
    merge = {"actor": people.owner, "kind": "lego", "recipe": {"rank": 2}, "inputs": [parent]}
    job = asking.queue_job(**merge, output=("lab", "merged"))
    seeds = parent.repository.companions.get().blob
    JobFile.objects.create(job=job, role="seeds", name="s.jsonl", blob=seeds, digest=seeds.pk)
    Job.objects.filter(pk=job.pk).update(state="failed")
    purge(people.owner, parent.repository)
    assert job.files.get().blob is None, "its private words go with it"
    assert Version.objects.filter(pk=parent.pk).exists()
    answer = Api(people.owner).post(f"/jobs/{job.pk}/retry")
    assert 400 <= answer.status_code < 500, answer.content


def test_only_the_trash_is_purged(people, parent):
    with pytest.raises(Conflict, match="delete it first"):
        purge_repository(actor=people.owner, repository=parent.repository)
    problem(Api(people.owner).post("/repositories/lab/parent/purge"), 404, "not_found")
    Api(people.owner).delete("/repositories/lab/parent")
    for person in (people.member, people.reader, people.stranger):
        problem(Api(person).post("/repositories/lab/parent/purge"), 404, "not_found")
    assert Api(people.owner).post("/repositories/lab/parent/purge").status_code == 204


def test_a_restore_that_comes_after_the_purge_brings_no_tombstone_back(people, parent):
    """Two admins at once: one restores what the other has deleted for good since the first one looked."""
    child = factories.make_repository(people.owner, "child", namespace=people.lab)
    factories.publish(people.owner, child, factories.adapter_files(seed=9), parents=[parent])
    repositories.delete_repository(actor=people.owner, repository=parent.repository)
    seen = access.repository(access.Viewer(user=people.owner), "lab", "parent", "admin", deleted=True)
    purge_repository(actor=people.owner, repository=seen)
    with pytest.raises(NotFound, match="lab/parent"):
        repositories.restore_repository(actor=people.owner, repository=seen)
    assert Repository.objects.get(pk=seen.pk).deleted_at
    assert not Event.objects.filter(verb="repository.restore").exists()


def test_the_page_deletes_for_good(client, people, parent):
    repositories.delete_repository(actor=people.owner, repository=parent.repository)
    client.force_login(people.owner)
    page = client.get("/trash").content.decode()
    assert "After 30 days it is deleted for good" in page and "/trash/lab/parent/purge" in page
    client.post("/trash/lab/parent/purge")
    assert not Repository.objects.exists()
