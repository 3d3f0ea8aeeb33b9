"""Who can run a job: the queue it goes to, the bases a worker must hold for it, and why nobody takes it yet."""

from collections.abc import Sequence

from django.conf import settings

from composition.registry import METHODS
from hub import broker, queries
from hub.models import BaseModel, Job, State, Version, WorkerNode

FINGERPRINT = "fingerprint"


def queue_of(kind: str) -> str:
    """The queue of what this kind needs; one that runs on any device goes to a GPU where a worker with one lives."""
    if kind == FINGERPRINT or METHODS[kind].needs.device == "cpu":
        return broker.CPU
    return broker.GPU if any(broker.GPU in worker.queues for worker in queries.live_workers()) else broker.CPU


def needs_base(kind: str) -> bool:
    """True where the worker must hold bases' weights."""
    return kind in METHODS and METHODS[kind].needs.base_model


def bases_for(kind: str, inputs: Sequence[Version], base: BaseModel | None) -> list[BaseModel]:
    """The bases whose weights such a job reads: its own, and for a transfer the adapter's before it."""
    if not needs_base(kind):
        return []
    sources = [version.base for version in inputs] if METHODS[kind].verb == "transfer" else []
    return list(dict.fromkeys(one for one in [*sources, base] if one is not None))


def bases_of(job: Job) -> list[BaseModel]:
    """The bases whose weights a queued job reads."""
    rows = job.inputs.filter(role="adapter").select_related("version__base")
    return bases_for(job.kind, [row.version for row in rows] if needs_base(job.kind) else [], job.base)


def able_workers(kind: str, bases: Sequence[BaseModel], queue: str | None = None) -> list[WorkerNode]:
    """Live workers that read the queue and hold all of the bases, as `bases_for` gives them."""
    queue = queue or (queue_of(kind) if kind in METHODS or kind == FINGERPRINT else broker.CPU)
    live = [worker for worker in queries.live_workers() if queue in worker.queues]
    if needs_base(kind) and not bases:
        return []
    return [worker for worker in live if {base.pk for base in bases} <= set(worker.bases)]


def waiting_sentence(kind: str, bases: Sequence[BaseModel], queue: str | None = None) -> str:
    """Why no running worker would take such a job, and what to do; "" where one would."""
    if able_workers(kind, bases, queue):
        return ""
    live = list(queries.live_workers())
    if not needs_base(kind) or not live:
        return "No worker is running that could take it. Start one: make up."
    missing = [base for base in bases if not any(base.pk in worker.bases for worker in live)]
    if not missing and len(bases) > 1:
        return (
            f"No single worker holds both {' and '.join(map(str, bases))}. "
            f"Put them below {settings.WORKER_BASES} on one worker's machine."
        )
    names = " and ".join(map(str, missing or bases))
    places = " and ".join(f"{settings.WORKER_BASES}/{base.name}" for base in missing or bases)
    return (
        f"No running worker holds the base {names}. Put its weights under {places} "
        "on a worker's machine, or into its Hugging Face cache."
    )


def waiting_for(job: Job) -> str:
    """What a queued job waits for, in words; "" for one that waits for its turn only, or is not queued."""
    return waiting_sentence(job.kind, bases_of(job), job.queue) if job.state == State.QUEUED else ""


def busy_with(job: Job) -> str:
    """What keeps every worker that could take a queued job, in words; "" where one is free, or none is there."""
    if job.state != State.QUEUED:
        return ""
    able = able_workers(job.kind, bases_of(job), job.queue)
    kinds = sorted({METHODS[w.current_job.kind].label for w in able if w.current_job and w.current_job.kind in METHODS})
    if not able or any(worker.current_job_id is None for worker in able):
        return ""
    return f"Every worker with this base is busy ({', '.join(kinds) or 'reading a base'}); yours waits its turn."
