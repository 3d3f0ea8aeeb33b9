"""Measuring what a verdict lacks: one evaluation job for each arm that was not measured as the others were."""

from django.db import transaction

from hub.access import Viewer
from hub.errors import Invalid
from hub.models import Job, Kind, User, Version
from hub.services.jobs import queue_job
from hub.verdict import arms_of, verdict


@transaction.atomic
def measure_arms(
    *,
    actor: User,
    version: Version,
    dataset: Version,
    oracle: Version | None = None,
    recipe: dict | None = None,
    again: bool = False,
) -> list[Job]:
    """The queued evaluations, all of one recipe, so that the arms can be compared row by row; `again` repeats all.

    Raises what `queue_job` raises, and Invalid where the dataset is none; then nothing is queued.
    """
    if dataset.repository.kind != Kind.DATASET:
        raise Invalid(f"{dataset} is a {dataset.repository.kind}; give a dataset.", field="dataset")
    viewer = Viewer(user=actor)
    told = verdict(viewer, version, dataset=dataset, oracle=oracle)
    queued = []
    for arm in arms_of(viewer, version, oracle):
        if again or recipe or not told["metric"] or arm.role in told["missing"]:
            inputs = [arm.version] if arm.version else []
            asked = {"kind": "evaluate", "recipe": recipe or {}, "inputs": inputs, "datasets": [dataset]}
            queued.append(queue_job(actor=actor, **asked, base=arm.base))
    return queued
