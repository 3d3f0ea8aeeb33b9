"""Who can run a job: the queue it goes to, and live workers that read it and hold the bases it needs."""

from collections.abc import Sequence

from composition.recipes.method import Method
from hub import broker, queries
from hub.models import BaseModel, User, WorkerNode
from hub.queries import quota
from hub.services.quotas.limits import lock


def queue_of(method: Method) -> str:
    """The queue of what a method needs; one that runs on any device goes to a GPU where a worker with one lives."""
    if method.needs.device == "cpu":
        return broker.CPU
    return broker.GPU if any(broker.GPU in worker.queues for worker in queries.live_workers()) else broker.CPU


def able_workers(
    method: Method, bases: Sequence[BaseModel], queue: str | None = None, version: object = None
) -> list[WorkerNode]:
    """Live workers that read the queue, know this version of the recipe (today's where None is given) and hold all of
    the bases, as the kind of the job names them."""
    queue, version = queue or queue_of(method), method.recipe.version if version is None else version
    live = [worker for worker in queries.live_workers() if queue in worker.queues]
    live = [worker for worker in live if worker.can_read(method.kind, version)]
    if method.needs.base_model and not bases:
        return []
    return [worker for worker in live if {base.pk for base in bases} <= set(worker.bases)]


def waiting_sentence(
    method: Method, bases: Sequence[BaseModel], queue: str | None = None, version: object = None
) -> str:
    """Why no running worker would take such a job, and what to do; "" where one would."""
    if able_workers(method, bases, queue, version):
        return ""
    live = list(queries.live_workers())
    version = method.recipe.version if version is None else version
    if live and not any(worker.can_read(method.kind, version) for worker in live):
        return (
            f"Every running worker is of another release, which does not know version {version} of the {method.kind} "
            "recipe. Bring the workers to this release; the job waits for one."
        )
    if not method.needs.base_model or not live:
        return "No running worker can take this job. Start one: make up."
    missing = [base for base in bases if not any(base.pk in worker.bases for worker in live)]
    if not missing and len(bases) > 1:
        return (
            f"No single worker holds both {' and '.join(map(str, bases))}. "
            "Put them below the folder HUB_BASES of one worker's machine."
        )
    names = " and ".join(map(str, missing or bases))
    places = " and ".join(f"HUB_BASES/{base.folder}" for base in missing or bases)
    return (
        f"No running worker holds the base {names}. Put its weights under {places} "
        "on a worker's machine, or into its Hugging Face cache."
    )


def has_room(job_id: int) -> bool:
    """Whether the owner of a job may have one more running. Their row is locked to the end of the transaction."""
    owner = User.objects.filter(jobs=job_id).first()
    if owner is None or not quota.limits_of(owner)["running_jobs"]:
        return True
    lock(owner)
    return not quota.full([owner.pk])
