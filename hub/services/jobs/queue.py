"""What a person does with jobs: queue, cancel, retry. What a worker does with them stands in `job_lease`.

Queueing checks everything that can be known from headers, so that what a worker meets later is rare. The broker gets
the id after the commit; if it can't be reached the job stays queued and the reaper sends it.
"""

from collections.abc import Mapping, Sequence

from django.db import IntegrityError, transaction
from django.utils import timezone

from composition.registry import METHODS
from hub import broker
from hub.errors import Conflict, Invalid
from hub.models import FINAL, BaseModel, Job, JobInput, State, User, Version
from hub.progress import publish_progress
from hub.services import generation_check, transfer_check
from hub.services.audit import record
from hub.services.jobs import files as job_files
from hub.services.jobs.check import check_inputs, check_job, check_output, data_of, parse, resulting_visibility
from hub.services.jobs.scheduling import FINGERPRINT, queue_of, waiting_for

__all__ = ["cancel_job", "check_job", "queue_job", "retry_job", "waiting_for"]

CANCELLABLE = (State.QUEUED, State.LOADING, State.RUNNING)


@transaction.atomic
def queue_job(
    *,
    actor: User,
    kind: str,
    recipe: dict,
    inputs: Sequence[Version] = (),
    datasets: Sequence[Version] = (),
    output: tuple[str, str] | None = None,
    base: BaseModel | None = None,
    visibility: str | None = None,
    files: Mapping[str, object] | None = None,
    others: Mapping[str, Version] | None = None,
    keep: Sequence[str] = (),
    idempotency_key: str | None = None,
) -> Job:
    """A queued job. The same `idempotency_key` of the same user gives the same job, or Conflict for another request.

    `output` is (namespace, name); its repository is made when the result is saved. `files` is role → text or
    {"companion": name}, see `job_files`; `others` is role → version of inputs with a role of their own, see
    `generation_check`; `keep` are kinds of companions to keep beside the result. Raises RecipeError, other
    CompositionErrors for unfit inputs, Invalid with the field, PermissionDenied for the output's namespace.
    """
    base, others = generation_check.completed(actor, kind, base, others or {})
    keep = generation_check.check_keep(kind, keep)
    visibility = generation_check.asked_visibility(kind, visibility)
    given: list[job_files.Given] = []
    if kind != FINGERPRINT:
        parsed = parse(kind, recipe, inputs)
        recipe, datasets = parsed.to_dict(), data_of(actor, parsed, inputs, datasets)
        given = job_files.find(actor=actor, kind=kind, recipe=parsed, inputs=inputs, asked=files or {}, others=others)
        output = output or transfer_check.output_of(kind, inputs)
    asked = {"kind": kind, "recipe": recipe, "inputs": inputs, "datasets": datasets, "output": output, "base": base}
    # Only files that the request names are compared: what is kept beside the adapter may have changed since.
    named = {(file.role, file.name, file.entry.sha256) for file in given if file.role in (files or {})}
    asked |= {"files": named, "others": others, "keep": keep}
    if known := _known(actor, idempotency_key, asked):
        return known
    namespace, name = None, ""
    parents = generation_check.parents_of(kind, inputs, datasets, others)
    if kind == FINGERPRINT:
        if base is None:
            raise Invalid("A fingerprint is a base's; name the base.", field="base")
        recipe = {"kind": FINGERPRINT, "version": 1}
    else:
        check_inputs(kind, parsed, inputs, datasets, base, others)
        transfer_check.check_files(parsed, given, datasets)
        generation_check.check_files(parsed, base, given)
        if METHODS[kind].makes_adapter:
            namespace, name = check_output(actor, kind, output, parents, visibility)
    job = Job(
        kind=kind,
        recipe=recipe,
        queue=queue_of(kind),
        base=base or (inputs[0].base if inputs else None),
        output_namespace=namespace,
        output_name=name,
        output_visibility=resulting_visibility(parents, visibility),
        keep=keep,
        created_by=actor,
        idempotency_key=idempotency_key or None,
    )
    try:
        with transaction.atomic():
            job.save()
    except IntegrityError:
        # The same key at the same moment, from another request.
        return _known(actor, idempotency_key, asked)
    for role, versions in _roles(inputs, datasets, others):
        JobInput.objects.bulk_create(
            JobInput(job=job, version=version, role=role, position=position, digest=version.content_digest)
            for position, version in enumerate(versions)
        )
    job_files.hold(job, given)
    record(actor, "job.queue", job, kind=kind, output=job.output_path)
    send_later(job)
    return job


@transaction.atomic
def cancel_job(*, actor: User, job: Job) -> Job:
    """Cancel a job at once; its worker finds out at its next step. Conflict while it is being saved, or is over."""
    stopped = Job.objects.filter(pk=job.pk, state__in=CANCELLABLE).update(
        state=State.CANCELLED,
        cancel_requested=True,
        finished_at=timezone.now(),
        lease_until=None,
        message="Cancelled",
    )
    job.refresh_from_db()
    if not stopped and job.state == State.SAVING:
        raise Conflict(f"Job {job.pk} is being saved; it is too late to cancel it. Delete its result instead.")
    if not stopped:
        raise Conflict(f"Job {job.pk} is {job.state} already; there is nothing to cancel.")
    record(actor, "job.cancel", job)
    announce(job)
    return job


@transaction.atomic
def retry_job(*, actor: User, job: Job) -> Job:
    """Queue a failed or cancelled job again, as it was; Conflict in any other state, Invalid without its files."""
    again = Job.objects.filter(pk=job.pk, state__in=job_files.NO_RESULT).update(
        state=State.QUEUED,
        cancel_requested=False,
        lost=0,
        progress=0.0,
        message="",
        figures={},
        error=None,
        finished_at=None,
        started_at=None,
        lease_until=None,
        sent_at=None,
        worker="",
    )
    job.refresh_from_db()
    if not again:
        hint = "it runs already" if job.state not in FINAL else "start a new one instead"
        raise Conflict(f"Job {job.pk} is {job.state}; {hint}.")
    job_files.require(job)
    record(actor, "job.retry", job)
    announce(job)
    send_later(job)
    return job


def send_later(job: Job, queue: str | None = None) -> None:
    """Send the id once this transaction has committed, and note that the broker has it."""

    def deliver() -> None:
        if broker.send(job.pk, queue or job.queue):
            Job.objects.filter(pk=job.pk, state=State.QUEUED).update(sent_at=timezone.now())

    transaction.on_commit(deliver)


def announce(job: Job) -> None:
    """Tell the watchers the state once it is committed."""
    data = {"state": str(job.state), "attempt": job.attempt, "error": job.error, "message": job.message}
    transaction.on_commit(lambda: publish_progress(job.pk, "state", **data))


def _roles(inputs: Sequence[Version], datasets: Sequence[Version], others: Mapping[str, Version]) -> list[tuple]:
    """[(role, its versions in order)], by role, as the job's inputs are kept."""
    rest = [(role, [version]) for role, version in others.items()]
    return sorted([("adapter", inputs), ("dataset", datasets), *rest], key=lambda row: row[0])


def _known(actor: User, key: str | None, asked: dict) -> Job | None:
    """The job this key stands for, if it was the same request."""
    job = Job.objects.filter(created_by=actor, idempotency_key=key).first() if key else None
    if job is None:
        return None
    before = list(job.inputs.values_list("role", "version_id"))
    roles = _roles(asked["inputs"], asked["datasets"], asked["others"])
    now = [(role, version.pk) for role, versions in roles for version in versions]
    output = "/".join(map(str, asked["output"])) if asked["output"] else ""
    recipe = job.recipe if asked["kind"] == FINGERPRINT else asked["recipe"]
    same = job.kind == asked["kind"] and job.recipe == recipe and before == now
    same = same and asked["files"] <= set(job.files.values_list("role", "name", "digest"))
    same = same and job.base == (asked["base"] or (asked["inputs"][0].base if asked["inputs"] else None))
    same = same and job.keep == asked["keep"]
    if not same or job.output_path.lower() != output.lower():
        raise Conflict(
            f"The idempotency key {key!r} stands for job {job.pk}, which asked for something else. Use a new key.",
            code="idempotency_key",
            job=job.pk,
        )
    return job
