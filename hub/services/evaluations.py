"""Recording a measurement together with the end of its job, behind the fence of its attempt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction

from hub.models import Evaluation, Job, Version
from hub.services.audit import record
from hub.services.jobs.lease import finish
from hub.services.jobs.recheck import require_sight
from hub.services.jobs.results import keep_outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One evaluation of several that a job made: of a version, or of the job's base where there is none."""

    version: Version | None
    dataset: Version
    recipe: Mapping[str, object]
    metrics: Mapping[str, float]
    hits: Mapping[str, str]
    rows: int
    seconds: float


@transaction.atomic
def record_evaluation(
    *,
    job: Job,
    attempt: int,
    metrics: Mapping[str, float],
    rows: int,
    seconds: float,
    device: str,
    environment: Mapping[str, object],
    hits: Mapping[str, str] | None = None,
) -> Evaluation:
    """The evaluation of the job's adapter (or bare base) on its dataset; the job is DONE with it.

    Raises LostLease for an attempt that is over; then nothing is written.
    """
    finish(job_id=job.pk, attempt=attempt, environment=environment)
    require_sight(job)
    given = job.inputs.select_related("version__base", "version__repository__namespace")
    inputs = {row.role: row.version for row in given}
    one = Measurement(
        version=inputs.get("adapter"),
        dataset=inputs["dataset"],
        recipe=job.recipe,
        metrics=metrics,
        hits=hits or {},
        rows=rows,
        seconds=seconds,
    )
    return _record(job, one, device, environment, job=job)


@transaction.atomic
def record_measurements(
    *, job: Job, outcome: dict, measured: Sequence[Measurement], device: str, environment: Mapping[str, object]
) -> list[Evaluation]:
    """The evaluations that a job made on the way to its answer, which is kept with it; the job is DONE with them.

    Raises LostLease for an attempt that is over; then nothing is written.
    """
    keep_outcome(job=job, outcome=outcome, environment=dict(environment))
    return [_record(job, one, device, environment) for one in measured]


def _record(
    asked: Job, one: Measurement, device: str, environment: Mapping[str, object], job: Job | None = None
) -> Evaluation:
    """`job` where the evaluation is all that the job makes."""
    evaluation = Evaluation.objects.create(
        version=one.version,
        base=asked.base or one.version.base,
        dataset=one.dataset,
        dataset_digest=one.dataset.content_digest,
        split=one.recipe["split"],
        metrics=dict(one.metrics),
        rows=one.rows,
        hits=dict(one.hits),
        recipe=dict(one.recipe),
        environment=dict(environment),
        device=device[:100],
        seconds=one.seconds,
        job=job,
        created_by=asked.created_by,
    )
    place = (one.version or one.dataset).repository
    what = one.version or asked.base
    record(asked.created_by, "evaluate", what, repository=place, dataset=str(one.dataset), job=asked.pk)
    return evaluation
