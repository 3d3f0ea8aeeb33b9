"""A measurement is recorded with the end of its job, once, by the attempt that owns it, or not at all."""

import pytest

from hub.models import Evaluation, Job, JobInput, State
from hub.services.evaluations import record_evaluation
from hub.services.jobs.lease import LostLease
from tests.hub import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
FIGURES = {"metrics": {"nll": 1.5}, "rows": 4, "seconds": 2.0, "device": "cpu", "environment": {"torch": "2"}}


@pytest.fixture(params=["an adapter", "the bare base"])
def job(request, owner, base, dataset):
    rows = factories.publish(owner, dataset, factories.dataset_files()).version
    job = Job.objects.create(
        kind="evaluate",
        recipe={"kind": "evaluate", "split": "test"},
        state=State.SAVING,
        attempt=2,
        base=base,
        created_by=owner,
    )
    JobInput.objects.create(job=job, version=rows, role="dataset", position=0, digest=rows.content_digest)
    if request.param == "an adapter":
        version = factories.make_version(owner)
        JobInput.objects.create(job=job, version=version, role="adapter", position=0, digest=version.content_digest)
    return job


def test_all_that_is_needed_to_trust_it_is_kept(owner, base, job):
    found = record_evaluation(job=job, attempt=2, **FIGURES)
    found.refresh_from_db()
    adapter = job.inputs.filter(role="adapter").first()
    rows = job.inputs.get(role="dataset").version
    assert found.version == (adapter and adapter.version)
    assert (found.base, found.dataset, found.dataset_digest) == (base, rows, rows.content_digest)
    assert (found.split, found.metrics, found.rows, found.job) == ("test", {"nll": 1.5}, 4, job)
    assert (found.device, found.seconds, found.created_by) == ("cpu", 2.0, owner)
    assert Job.objects.get(pk=job.pk).state == State.DONE


@pytest.mark.parametrize("attempt", [1, 3])
def test_a_ghost_of_another_attempt_records_nothing(job, attempt):
    with pytest.raises(LostLease):
        record_evaluation(job=job, attempt=attempt, **FIGURES)
    assert not Evaluation.objects.exists()
    assert Job.objects.get(pk=job.pk).state == State.SAVING


def test_recording_twice_is_refused(job):
    record_evaluation(job=job, attempt=2, **FIGURES)
    with pytest.raises(LostLease):
        record_evaluation(job=job, attempt=2, **FIGURES)
    assert Evaluation.objects.count() == 1
