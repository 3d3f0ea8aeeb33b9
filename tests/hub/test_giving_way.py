"""A name in the trash is free for another repository by every door; what was deleted stays whole and comes back."""

import pytest
from django.core.management import call_command
from django.test import Client

from hub.errors import Conflict, Invalid
from hub.models import BaseModel, Event, FormerName, Job, Repository, State, Version
from hub.services import quotas, repositories
from hub.services.jobs import queue
from hub.services.jobs.recheck import require_place
from hub.services.jobs.results import publish_result
from hub.services.repositories import giving_way
from hub.services.upkeep import fsck
from tests.hub import asking, factories
from tests.hub.api_client import Api
from tests.hub.hf.asking import Asker

pytestmark = pytest.mark.django_db
MAKE = {"kind": "adapter", "visibility": "public"}
REST = {"namespace": "lab", "kind": "adapter"}
NAMES = "/repositories/lab"


def merge(user, people):
    """A merge to `lab/sentiment`, published as a worker would."""
    base = BaseModel.objects.get()
    pair = [factories.make_version(user, name, base=base, seed=n) for n, name in enumerate(("one", "two"))]
    job = asking.queue_job(actor=user, kind="svd", recipe={"rank": 2}, inputs=pair, output=("lab", "sentiment"))
    Job.objects.filter(pk=job.pk).update(state=State.SAVING, attempt=1)
    done = {"parents": pair, "origin": "merged", "message": "", "report": {}, "environment": {}}
    files = factories.store(factories.adapter_files(rank=2))
    publish_result(job=Job.objects.get(pk=job.pk), files=files, **done)


def move(user, people):
    factories.make_repository(people.owner, "mood", namespace=people.lab)
    asked = {"fromRepo": "lab/mood", "toRepo": "lab/Sentiment", "type": "model"}
    return Asker(user)("POST", "/api/repos/move", asked)


DOORS = {
    "REST": lambda user, people: Api(user).post("/repositories", {**REST, "name": "Sentiment"}),
    "the protocol": lambda user, people: Asker(user)("POST", "/api/repos/create", {"name": "lab/sentiment"}),
    "a first push": lambda user, people: Api(user).push("lab/sentiment", factories.adapter_files(seed=9), make=MAKE),
    "a move": move,
    "a job": merge,
}


@pytest.fixture
def gone(people, base, repository, store) -> Repository:
    """`lab/sentiment` with v1, in the trash."""
    factories.publish(people.owner, repository, factories.adapter_files(card="# The first\n"), base=base)
    repositories.delete_repository(actor=people.owner, repository=repository)
    return repository


@pytest.mark.parametrize("door", DOORS)
def test_by_every_door_another_takes_the_name_and_the_first_comes_back(door, gone, people):
    DOORS[door](people.owner, people)
    made = Repository.objects.get(name__iexact="sentiment")
    assert made.pk != gone.pk and made.deleted_at is None
    api, page = Api(people.owner), Client()
    page.force_login(people.owner)
    (entry,) = api.get("/trash").json()["results"]
    assert (entry["path"], entry["latest"]) == ("lab/sentiment-deleted", "v1")
    assert 'action="/trash/lab/sentiment-deleted"' in page.get("/trash").content.decode()
    said = api.post(f"{NAMES}/sentiment/restore")
    assert said.status_code == 404 and "lab/sentiment-deleted" in said.json()["detail"]
    assert "lab/sentiment-deleted" in page.post("/trash/lab/sentiment").content.decode()
    assert api.post(f"{NAMES}/sentiment-deleted/restore").json()["path"] == "lab/sentiment-deleted"
    card = page.get("/lab/sentiment-deleted/raw/v1/README.md")
    assert b"".join(card.streaming_content).endswith(b"# The first\n")
    assert Repository.objects.get(name__iexact="sentiment") == made
    assert quotas.miscounted(people.lab) == 0
    assert not list(fsck.check(fsck.look()))
    told = Event.objects.get(verb="repository.move", detail__after="lab/sentiment-deleted")
    assert (told.repository_id, told.detail["before"]) == (gone.pk, "lab/sentiment")


@pytest.mark.parametrize("door", ["REST", "the protocol"])
def test_a_writer_takes_it_too_and_who_may_not_write_moves_nothing(door, gone, people):
    for user in (people.reader, people.stranger):
        assert DOORS[door](user, people).status_code == 403
        gone.refresh_from_db()
        assert gone.name == "sentiment"
    assert DOORS[door](people.member, people).status_code in (200, 201)
    for user in (people.member, people.reader, people.stranger):
        refused = Api(user).post(f"{NAMES}/sentiment/restore")
        assert refused.status_code == 404 and "deleted" not in refused.content.decode(), "the trash is its admins'"


def test_a_name_that_is_refused_for_another_reason_moves_nothing(gone, people):
    root = factories.make_user("root", is_staff=True)
    quotas.set_quota(actor=root, namespace=people.lab, repositories=1)
    assert DOORS["REST"](people.owner, people).status_code == 409
    gone.refresh_from_db()
    assert gone.name == "sentiment"


def test_again_and_again_each_keeps_a_name_of_its_own(gone, people):
    factories.make_repository(people.owner, "Sentiment-deleted-2", namespace=people.lab)
    for _ in range(2):  # -2 is the name of another.
        made = factories.make_repository(people.owner, "sentiment", namespace=people.lab)
        repositories.delete_repository(actor=people.owner, repository=made)
    paths = {row["path"] for row in Api(people.owner).get("/trash").json()["results"]}
    assert paths == {"lab/sentiment", "lab/sentiment-deleted", "lab/sentiment-deleted-3"}


def test_a_name_that_leads_on_is_not_taken_and_a_long_one_is_cut(people):
    long = "a" * 79 + "-" + "b" * 16
    for name, after in ((long, "a" * 79 + "-deleted"), ("short", "short-deleted-2")):
        row = factories.make_repository(people.owner, name, namespace=people.lab)
        FormerName.objects.create(repository=row, namespace=people.lab, folded=f"{name[:60]}-deleted")
        repositories.delete_repository(actor=people.owner, repository=row)
        factories.make_repository(people.owner, name, namespace=people.lab)
        row.refresh_from_db()
        assert row.name == after


def test_who_restores_at_the_same_moment_keeps_the_name(gone, people, monkeypatch):
    give_way = giving_way.give_way

    def late(*given):
        repositories.restore_repository(actor=people.owner, repository=gone)
        give_way(*given)

    monkeypatch.setattr(repositories, "give_way", late)
    with pytest.raises(Conflict, match="lab/sentiment was just made"):
        factories.make_repository(people.owner, "sentiment", namespace=people.lab)


def test_a_restore_that_comes_late_brings_back_what_was_meant(gone, people):
    """Who asked for it when it still had the name gets it, by its new one, and not the other."""
    made = factories.make_repository(people.owner, "sentiment", namespace=people.lab)
    back = repositories.restore_repository(actor=people.owner, repository=gone)
    assert (back.pk, back.path, made.path) == (gone.pk, "lab/sentiment-deleted", "lab/sentiment")


def test_a_job_makes_no_other_in_place_of_one_that_was_deleted_under_it(people, base, repository):
    pair = [factories.make_version(people.owner, name, base=base, seed=n) for n, name in enumerate(("one", "two"))]
    asked = {"kind": "svd", "recipe": {"rank": 4}, "inputs": pair, "output": ("lab", "sentiment")}
    job = asking.queue_job(actor=people.owner, **asked)
    repositories.delete_repository(actor=people.owner, repository=repository)
    with pytest.raises(Invalid, match="lab/sentiment was put into the trash after this job was asked for"):
        require_place(job)
    job = queue.cancel_job(actor=people.owner, job=Job.objects.get(pk=job.pk))
    with pytest.raises(Invalid, match="Restore it and retry the job"):
        queue.retry_job(actor=people.owner, job=job)
    repositories.restore_repository(actor=people.owner, repository=repository)
    assert queue.retry_job(actor=people.owner, job=job)
    repositories.delete_repository(actor=people.owner, repository=repository)
    require_place(asking.queue_job(actor=people.owner, **asked))  # Asked for after it was deleted.


def test_a_bundle_of_another_repository_takes_the_name(people, base, repository, store, tmp_path):
    factories.publish(people.owner, repository, factories.adapter_files(), base=base)
    call_command("export", "lab/sentiment", str(tmp_path / "a.bundle"))
    Repository.objects.filter(pk=repository.pk).update(oid_key=123456)
    repositories.delete_repository(actor=people.owner, repository=repository)
    call_command("import", str(tmp_path / "a.bundle"), "--as", "owner")
    assert Version.objects.filter(repository__name="sentiment").count() == 1
    repository.refresh_from_db()
    assert repository.name == "sentiment-deleted"
