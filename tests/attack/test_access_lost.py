"""The permission matrix over time: access that is lost between queue, retry, claim and publish, for every kind of job.

The fault: a reader queued a merge of a private adapter, left the organisation, retried, and downloaded its weights.
"""

import pytest

from composition.registry import METHODS
from hub import access
from hub.errors import Conflict, Invalid, NotFound, PermissionDenied
from hub.models import Evaluation, Job, Membership, Repository, Role, State, Version, Visibility
from hub.services.evaluations import record_evaluation
from hub.services.jobs import lease, queue, results
from hub.services.jobs.request import JobRequest
from tests.hub import factories
from tests.hub.every_kind import FINE, MERGE, asked, make_lab, own_output
from workers.runner import run

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
READING = [kind for kind in FINE if FINE[kind].get("inputs") or FINE[kind].get("datasets") or kind == "generate"]
PUBLISHING = [kind for kind in READING if METHODS[kind].result in ("adapter", "generator")]


@pytest.fixture
def lab(people, base, tmp_path):
    """The lab, all of it private."""
    made = make_lab(people, base, tmp_path)
    Repository.objects.update(visibility=Visibility.PRIVATE)
    return made


@pytest.fixture
def queued(lab):
    """Queue a job of a kind as the member of the lab, whose result goes to their own namespace where it can."""

    def ask(kind: str) -> Job:
        return queue.queue_job(actor=lab.member, request=asked(lab.member, FINE[kind] | own_output(kind)))

    return ask


def leave(lab) -> None:
    Membership.objects.filter(user=lab.member, namespace=lab.lab).delete()


def saving(job: Job) -> Job:
    """The job as a worker has it when its result is there and nothing is written."""
    job = lease.claim(job.pk, worker="w")
    for state in (State.RUNNING, State.SAVING):
        lease.advance(job_id=job.pk, attempt=job.attempt, state=state)
    return job


def save(job: Job) -> None:
    """Write what a worker would, by what the job's method makes."""
    inputs, makes = JobRequest.of(job), METHODS[job.kind].result
    if makes in ("adapter", "generator"):
        named = {"base_name": job.base.name}
        made = factories.adapter_files(**named) if makes == "adapter" else factories.generator_files()
        told = {"origin": "merged", "message": "made", "report": {}, "environment": {}}
        results.publish_result(job=job, files=factories.store(made), parents=inputs.versions, **told)
    elif makes == "companion":
        given = {"files": factories.store(factories.adapter_files()), "facts": {"recall": 1.0}, "environment": {}}
        results.keep_discriminator(job=job, version=inputs.adapters[0], **given)
    elif makes == "evaluation":
        figures = {"metrics": {"nll": 1.0}, "rows": 4, "seconds": 1.0, "device": "cpu", "environment": {}}
        record_evaluation(job=job, attempt=job.attempt, **figures)
    else:
        results.keep_outcome(job=job, outcome={"answers": {}}, environment={})


def test_every_kind_is_here_but_the_one_that_reads_nothing():
    assert set(FINE) - set(READING) == {"fingerprint"}


@pytest.mark.parametrize("kind", READING)
def test_who_left_can_not_retry(lab, queued, kind):
    job = queue.cancel_job(actor=lab.member, job=queued(kind))
    assert queue.retry_job(actor=lab.member, job=job).state == State.QUEUED
    job = queue.cancel_job(actor=lab.member, job=job)
    leave(lab)
    with pytest.raises(NotFound):
        queue.retry_job(actor=lab.member, job=job)
    assert Job.objects.get(pk=job.pk).state == State.CANCELLED


@pytest.mark.parametrize("kind", READING)
def test_a_job_of_who_left_is_not_run(lab, queued, worker, kind, monkeypatch):
    job = queued(kind)
    leave(lab)
    monkeypatch.setattr(worker, "input_folder", lambda row: pytest.fail("a worker read what its owner may not see"))
    before = Version.objects.count()
    run(lease.claim(job.pk, worker=worker.name), worker)
    job.refresh_from_db()
    assert (job.state, job.error["code"]) == (State.FAILED, "not_found")
    assert (job.result, job.outcome, Version.objects.count()) == (None, None, before)


@pytest.mark.parametrize("kind", READING)
def test_a_result_of_who_left_is_not_published(lab, queued, kind):
    job = saving(queued(kind))
    before = Version.objects.count(), Evaluation.objects.count()
    leave(lab)
    with pytest.raises(NotFound):
        save(job)
    kept = Job.objects.get(pk=job.pk)
    assert (kept.state, kept.result, kept.outcome) == (State.SAVING, None, None)
    assert (Version.objects.count(), Evaluation.objects.count()) == before


@pytest.mark.parametrize("kind", READING)
def test_who_stayed_gets_the_result(lab, queued, kind):
    """The other side: the same steps with nobody leaving end well, so that the refusals above mean something."""
    job = saving(queued(kind))
    save(job)
    assert Job.objects.get(pk=job.pk).state == State.DONE


@pytest.mark.parametrize("kind", PUBLISHING)
def test_a_parent_made_private_in_between_makes_the_result_private(people, base, tmp_path, kind):
    lab = make_lab(people, base, tmp_path)
    request = asked(lab.member, FINE[kind] | {"visibility": "public"})
    job = saving(queue.queue_job(actor=lab.member, request=request))
    assert job.output_visibility == Visibility.PUBLIC
    first = JobRequest.of(job).versions[0].repository
    Repository.objects.filter(pk=first.pk).update(visibility=Visibility.PRIVATE)
    save(job)
    assert Job.objects.get(pk=job.pk).output.visibility == Visibility.PRIVATE


def test_a_result_for_a_public_place_is_refused_once_its_parent_is_private(people, base, tmp_path):
    lab = make_lab(people, base, tmp_path)
    there = factories.make_repository(lab.owner, "shown", namespace=lab.lab)
    job = saving(queue.queue_job(actor=lab.member, request=asked(lab.member, {**MERGE, "output": "lab/shown"})))
    Repository.objects.filter(name="a").update(visibility=Visibility.PRIVATE)
    with pytest.raises(Invalid, match="is public, but"):
        save(job)
    assert not there.versions.exists()


def test_a_writer_who_became_a_reader_publishes_nothing(lab):
    job = saving(queue.queue_job(actor=lab.member, request=asked(lab.member, MERGE)))
    Membership.objects.filter(user=lab.member, namespace=lab.lab).update(role=Role.READER)
    with pytest.raises(PermissionDenied, match="needs the role writer"):
        save(job)
    assert not Repository.objects.filter(name="made").exists()


def test_an_input_in_the_trash_is_not_read(lab, queued, worker):
    job = queued("lego")
    Repository.objects.filter(name="a").update(deleted_at="2026-01-01T00:00:00Z")
    run(lease.claim(job.pk, worker=worker.name), worker)
    job.refresh_from_db()
    assert (job.state, job.error["code"]) == (State.FAILED, "not_found")


def test_who_retries_for_somebody_does_not_lend_them_their_sight(lab):
    """A writer of the output's namespace may retry a job; it still acts for who asked for it."""
    job = queue.queue_job(actor=lab.member, request=asked(lab.member, MERGE))
    job = queue.cancel_job(actor=lab.owner, job=job)
    leave(lab)
    assert access.job(access.Viewer(user=lab.owner), job.pk, "write")
    with pytest.raises(Conflict, match="member, who asked for it") as refusal:
        queue.retry_job(actor=lab.owner, job=job)
    assert "lab/a" not in refusal.value.message and "lab/a" not in str(refusal.value.facts)


def test_a_discriminator_goes_beside_its_adapter_and_nowhere_else(lab):
    """The fault: an `output` of one's own made the write check look there, while the file went to the adapter."""
    Repository.objects.update(visibility=Visibility.PUBLIC)
    body = {**FINE["discriminator"], "output": "stranger/mine"}
    for given in (body, FINE["discriminator"]):
        with pytest.raises((Invalid, PermissionDenied)):
            queue.queue_job(actor=lab.stranger, request=asked(lab.stranger, given))
    assert not Job.objects.exists()
    job = saving(queue.queue_job(actor=lab.member, request=asked(lab.member, FINE["discriminator"])))
    Membership.objects.filter(user=lab.member).update(role=Role.READER)
    with pytest.raises(PermissionDenied):
        save(job)
