"""What a queued job needs and why it waits: nobody holds its bases, or those who do are busy."""

from collections.abc import Iterable

from django.db.models import Prefetch, prefetch_related_objects

from composition.registry import METHODS, beyond
from hub import disk
from hub.models import ADAPTER, BaseModel, Job, JobInput, State
from hub.queries import quota
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.scheduling import Need, able_workers, waiting_sentence

SETTLED_AT_ONCE = 50


def adapters() -> Prefetch:
    """A job's input adapters with their bases, to be fetched with a list of jobs."""
    rows = JobInput.objects.filter(role=ADAPTER).select_related("version__base").defer("version__report")
    return Prefetch("inputs", rows, to_attr="adapter_inputs")


def bases_of(job: Job) -> list[BaseModel]:
    """The bases whose weights a job reads."""
    method = METHODS.get(job.kind)
    if method is None or not method.needs.base_model:
        return []
    prefetch_related_objects([job], adapters())
    rows = job.adapter_inputs
    return kind_of(job.kind).bases(method, [row.version for row in rows], job.base)


def settle(jobs: Iterable[Job]) -> None:
    """Note what these jobs need, of those whose row doesn't say it: jobs that an earlier release has queued."""
    for job in jobs:
        if not job.need and job.kind in METHODS:
            job.need = str(Need.of(METHODS[job.kind], bases_of(job)))
            Job.objects.filter(pk=job.pk, need="").update(need=job.need)


def settle_waiting() -> None:
    """Do so for some of the waiting jobs."""
    unknown = Job.objects.filter(state=State.QUEUED, need="", kind__in=METHODS)
    settle(unknown.select_related("base").order_by("pk")[:SETTLED_AT_ONCE])


def waiting_for(job: Job) -> str:
    """What a queued job waits for, in words; "" for one that waits for its turn only, or is not queued."""
    if job.state != State.QUEUED:
        return ""
    if unknown := beyond(job.kind, job.recipe):
        return (
            f"This server's release does not know {unknown}. If it is of a later release, a worker of that release "
            "takes the job; if the hub no longer has it, cancel the job."
        )
    if quota.full([job.created_by_id]):
        return "As many jobs as its owner may have at a time are running; it begins when one of them ends."
    return disk.low() or waiting_sentence(METHODS[job.kind], bases_of(job), job.recipe.get("version"))


def busy_with(job: Job) -> str:
    """What keeps every worker that could take a queued job, in words; "" where one is free, or none is there."""
    if job.state != State.QUEUED or job.kind not in METHODS:
        return ""
    able = able_workers(METHODS[job.kind], bases_of(job), job.recipe.get("version"))
    if not able or any(worker.current_job_id is None for worker in able):
        return ""
    kinds = sorted({METHODS[worker.current_job.kind].label for worker in able if worker.current_job.kind in METHODS})
    return f"Every worker with this base is busy ({', '.join(kinds)}); this job waits for its turn."
