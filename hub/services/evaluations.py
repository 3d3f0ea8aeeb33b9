"""Recording a measurement together with the end of its job, behind the fence of its attempt."""

from collections.abc import Mapping

from django.db import transaction

from hub.models import Evaluation, Job
from hub.services.audit import record
from hub.services.jobs.lease import finish
from hub.services.jobs.recheck import require_sight


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
    dataset, version = inputs["dataset"], inputs.get("adapter")
    evaluation = Evaluation.objects.create(
        version=version,
        base=job.base or version.base,
        dataset=dataset,
        dataset_digest=dataset.content_digest,
        split=job.recipe["split"],
        metrics=dict(metrics),
        rows=rows,
        hits=dict(hits or {}),
        recipe=job.recipe,
        environment=dict(environment),
        device=device[:100],
        seconds=seconds,
        job=job,
        created_by=job.created_by,
    )
    place = (version or dataset).repository
    record(job.created_by, "evaluate", version or job.base, repository=place, dataset=str(dataset), job=job.pk)
    return evaluation
