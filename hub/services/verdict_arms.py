"""Measuring what a verdict lacks: one evaluation job for each arm that was not measured as the others were."""

from django.db import transaction

from composition.recipes import EvaluateRecipe
from hub.access import Viewer, acting
from hub.errors import Invalid
from hub.models import ADAPTER, FINAL, Job, User, Version
from hub.queries.verdict import Arm, arms_of, verdict
from hub.services.jobs.queue import queue_job
from hub.services.jobs.request import JobRequest


@transaction.atomic
def measure_arms(
    *,
    actor: User | Viewer,
    version: Version,
    dataset: Version,
    oracle: Version | None = None,
    recipe: dict | None = None,
) -> list[Job]:
    """The queued evaluations, all of one recipe, so that the arms can be compared row by row.

    With a recipe every arm is measured by it. What the actor has under way already is not queued twice. Raises what
    `queue_job` raises, and Invalid where `dataset` is not a dataset; then nothing is queued.
    """
    if not dataset.repository.is_dataset:
        raise Invalid(f"{dataset} is of kind {dataset.repository.kind}; give a dataset.", field="dataset")
    viewer = acting(actor)
    told = verdict(viewer, version, dataset=dataset, oracle=oracle)
    queued = []
    for arm in arms_of(viewer, version, oracle):
        wanted = recipe or not told["metric"] or arm.role in told["missing"]
        if wanted and not _under_way(viewer.user, arm, dataset, recipe or {}):
            queued.append(queue_job(actor=viewer, request=_request(arm, dataset, recipe or {})))
    return queued


def _request(arm: Arm, dataset: Version, recipe: dict) -> JobRequest:
    inputs = {ADAPTER: (arm.version,)} if arm.version else {}
    return JobRequest(kind=EvaluateRecipe.kind, recipe=recipe, inputs=inputs, datasets=(dataset,), base=arm.base)


def _under_way(actor: User, arm: Arm, dataset: Version, recipe: dict) -> bool:
    wanted = {("dataset", dataset.pk)} | ({("adapter", arm.version.pk)} if arm.version else set())
    mine = Job.objects.filter(created_by=actor, kind=EvaluateRecipe.kind, base=arm.base).exclude(state__in=FINAL)
    same = [job for job in mine.prefetch_related("inputs") if recipe.items() <= job.recipe.items()]
    return any({(row.role, row.version_id) for row in job.inputs.all()} == wanted for job in same)
