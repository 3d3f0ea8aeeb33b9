"""Private inputs of jobs that are over: kept for a day where they may be tried again, then gone to the last byte."""

from datetime import timedelta

import pytest
from django.utils import timezone

from hub.errors import Conflict, Invalid
from hub.models import Blob, Job, JobFile, State
from hub.services.content.companions import keep
from hub.services.content.manifest import Entry
from hub.services.jobs import files as job_files
from hub.services.jobs import queue
from hub.storage import blobs
from tests.hub import asking, factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def ask(people, base, store):
    """Queue a generation of a text, and let it be over since so many hours."""
    factories.make_generator(people.owner, base=base, namespace=people.lab)

    def asked(text: str, state: str = State.QUEUED, hours: float = 0) -> Job:
        files = {"context": [{"name": "diary.txt", "text": text}]}
        output = ("lab", f"doc{len(text)}")
        job = asking.queue_job(actor=people.owner, kind="generate", recipe={}, base=base, files=files, output=output)
        ended = timezone.now() - timedelta(hours=hours)
        Job.objects.filter(pk=job.pk).update(state=state, finished_at=ended if hours else None)
        job.refresh_from_db()
        return job

    return asked


@pytest.fixture
def old(monkeypatch):
    """Every blob was stored two days ago."""
    monkeypatch.setattr(blobs, "modified", lambda sha256: timezone.now() - timedelta(days=2))


def digest(job: Job) -> str:
    return job.files.get().digest


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_texts_of_a_job_without_a_result_go_after_a_day(people, ask, old, state):
    job, fresh = ask("A secret.", state, hours=25), ask("Another one.", state, hours=23)
    assert job_files.purge() == 1
    assert not blobs.exists(digest(job)) and not Blob.objects.filter(pk=digest(job)).exists()
    assert blobs.exists(digest(fresh))
    file = job.files.get()
    assert (file.blob, file.name, len(file.digest)) == (None, "diary.txt", 64)
    with pytest.raises(Invalid, match="has been removed since"):
        queue.retry_job(actor=people.owner, job=job)
    job.refresh_from_db()
    assert job.state == state
    assert queue.retry_job(actor=people.owner, job=fresh).state == State.QUEUED
    assert job_files.purge() == 0


@pytest.mark.parametrize("state", [State.QUEUED, State.LOADING, State.RUNNING, State.SAVING])
def test_texts_of_a_job_under_way_stay(ask, old, state):
    job = ask("A secret.", state, hours=48)
    assert job_files.purge() == 0
    assert blobs.exists(digest(job)) and job.files.get().blob_id == digest(job)


def test_bytes_that_a_done_job_let_go_of_go_too(ask, old):
    job = ask("A secret.", State.DONE, hours=25)
    job_files.let_go(job.pk)
    job_files.purge()
    assert not blobs.exists(digest(job))


def test_bytes_that_something_else_holds_stay(people, ask, old):
    failed, queued = ask("A secret.", State.FAILED, hours=25), ask("A secret.")
    text = "A kept text."
    kept = ask(text, State.FAILED, hours=25)
    entry = Entry(digest(kept), len(text))
    repository = factories.make_repository(people.owner, "doc", namespace=people.lab)
    keep(actor=people.owner, repository=repository, kind="context", files={"v1/diary.txt": entry}, facts={})
    assert job_files.purge() == 2
    assert blobs.exists(digest(queued)) and blobs.exists(digest(kept))
    assert JobFile.objects.filter(job=failed, blob=None).exists()


def test_bytes_that_were_just_stored_wait_for_their_owner(ask):
    job = ask("A secret.", State.FAILED, hours=25)
    assert job_files.purge() == 1
    assert blobs.exists(digest(job))


def test_a_done_job_is_not_tried_again_for_want_of_files(people, ask):
    job = ask("A secret.", State.DONE, hours=1)
    job_files.let_go(job.pk)
    with pytest.raises(Conflict, match="start a new one"):
        queue.retry_job(actor=people.owner, job=job)
