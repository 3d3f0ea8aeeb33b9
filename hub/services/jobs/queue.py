"""What a person does with jobs: queue, cancel, retry. What a worker does with them stands in `lease`.

Queueing checks everything that can be known from headers, so that what a worker meets later is rare. The broker gets
the id after the commit; if it can't be reached the job stays queued and the reaper sends it.
"""

from django.db import IntegrityError, transaction

from composition.errors import CompositionError
from hub import access, broker, disk
from hub.access import Viewer
from hub.errors import Conflict, HubError
from hub.models import DATASET, FINAL, Job, JobInput, Priority, State, User, Visibility, clock
from hub.progress import publish_progress
from hub.services import quotas
from hub.services.audit import record
from hub.services.jobs.draft import Draft
from hub.services.jobs.files import NO_RESULT, hold
from hub.services.jobs.files import require as require_files
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.output import resulting_visibility
from hub.services.jobs.prepare import examine
from hub.services.jobs.recheck import recheck
from hub.services.jobs.request import JobRequest
from hub.services.jobs.scheduling import Need, priority_of, queue_for
from hub.services.jobs.waiting import settle
from hub.services.known_bases import hold as hold_base

CANCELLABLE = (State.QUEUED, State.LOADING, State.RUNNING)


def queue_job(*, actor: User | Viewer, request: JobRequest, idempotency_key: str | None = None) -> Job:
    """A queued job. The same `idempotency_key` of the same user gives the same job, or Conflict for another request.

    A `Viewer` as the actor keeps the job within the limit of their token. The output's repository is made when the
    result is saved. Raises what `prepare` raises.
    """
    request = kind_of(request.kind).received(request)
    with transaction.atomic():
        return _queue(actor, request, idempotency_key)


def _queue(actor: User | Viewer, request: JobRequest, idempotency_key: str | None) -> Job:
    draft = examine(actor, request)
    if known := _known(draft, request, idempotency_key):
        return known
    draft.require()
    disk.require_room()
    quotas.require("queued_jobs", draft.actor)
    request, kind, limit = draft.request, kind_of(request.kind), draft.viewer.limit
    namespace, name = draft.place or (None, "")
    need = Need.of(draft.method, kind.bases(draft.method, request.adapters, draft.base))
    job = Job(
        kind=request.kind,
        recipe=draft.recipe.to_dict(),
        queue=queue_for(need),
        need=str(need),
        priority=priority_of(draft.viewer, request.priority),
        base=draft.base and hold_base(draft.base),
        output_namespace=namespace,
        output_name=name,
        output_visibility=resulting_visibility(kind.parents(request), kind.visibility(request.visibility)),
        keep=list(request.keep),
        created_by=draft.actor,
        limit_namespace=limit.namespace if limit else None,
        limit_repository=limit.repository if limit else None,
        idempotency_key=idempotency_key or None,
        expected_seconds=kind.cost(draft).get("seconds"),
    )
    try:
        with transaction.atomic():
            job.save()
    except IntegrityError:
        # The same key at the same moment, from another request.
        if known := _known(draft, request, idempotency_key):
            return known
        raise
    for role, versions in _roles(request):
        JobInput.objects.bulk_create(
            JobInput(job=job, version=version, role=role, position=position, digest=version.content_digest)
            for position, version in enumerate(versions)
        )
    hold(job, draft.given)
    record(draft.actor, "job.queue", job, kind=request.kind, output=job.output_path)
    send_later(job)
    return job


@transaction.atomic
def cancel_job(*, actor: User, job: Job) -> Job:
    """Cancel a job at once; its worker finds out at its next step. Conflict while it is being saved, or is over."""
    stopped = Job.objects.filter(pk=job.pk, state__in=CANCELLABLE).update(
        state=State.CANCELLED,
        cancel_requested=True,
        finished_at=clock.now(),
        lease_until=None,
        message="Cancelled",
        error=None,
    )
    job.refresh_from_db()
    if not stopped and job.state == State.SAVING:
        raise Conflict(f"Job {job.pk} is being saved; it is too late to cancel it. Delete its result instead.")
    if not stopped:
        raise Conflict(f"Job {job.pk} is already {job.state}; there is nothing to cancel.")
    record(actor, "job.cancel", job)
    announce(job)
    return job


@transaction.atomic
def set_priority(*, actor: User | Viewer, job: Job, priority: str) -> Job:
    """Let a job that waits come before or after its owner's others. Conflict once it has begun or is over.

    Invalid `job.priority` for a word that is none, or that the actor may not give; nor may they take it from a job that
    an administrator of the site made urgent.
    """
    viewer = access.acting(actor)
    asked = priority_of(viewer, priority)
    if job.priority == Priority.URGENT:
        priority_of(viewer, Priority.URGENT.label)
    if not Job.objects.filter(pk=job.pk, state=State.QUEUED).update(priority=asked):
        job.refresh_from_db()
        raise Conflict(f"Job {job.pk} is {job.state}; only a job that waits has a priority.")
    job.refresh_from_db()
    record(viewer.user, "job.priority", job, priority=priority)
    return job


@transaction.atomic
def retry_job(*, actor: User, job: Job) -> Job:
    """Queue a failed or cancelled job again, as it was.

    Conflict in any other state, Invalid without its files; and what `prepare` raises where its owner may not start it
    any more.
    """
    again = Job.objects.filter(pk=job.pk, state__in=NO_RESULT).update(
        state=State.QUEUED,
        need="",
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
        hint = "it has not ended yet" if job.state not in FINAL else "start a new one instead"
        raise Conflict(f"Job {job.pk} is {job.state}; {hint}.")
    require_files(job)
    _recheck_for(actor, job)
    quotas.require("queued_jobs", job.created_by)
    settle([job])
    record(actor, "job.retry", job)
    announce(job)
    send_later(job)
    return job


def _recheck_for(actor: User, job: Job) -> None:
    """Refuse what the job's owner may not start any more; only they are told why, as it may name what is hidden."""
    try:
        recheck(job)
    except (HubError, CompositionError) as refusal:
        if actor == job.created_by or job.created_by is None:
            raise
        raise Conflict(
            f"Job {job.pk} can't be queued again for {job.created_by.username}, who asked for it: what it needs has "
            "changed since. They are told why when they retry it.",
            code="job.refused_for_owner",
        ) from refusal


def send_later(job: Job, queue: str | None = None) -> None:
    """Send the id once this transaction has committed, and note that the broker has it, and where."""

    def deliver() -> None:
        name = queue or (queue_for(Need.read(job.need)) if job.need else job.queue)
        if broker.send(job.pk, name):
            where = {} if queue else {"queue": name}
            Job.objects.filter(pk=job.pk, state=State.QUEUED).update(sent_at=clock.now(), **where)

    transaction.on_commit(deliver)


def announce(job: Job) -> None:
    """Tell the watchers the state once it is committed."""
    data = {"state": str(job.state), "attempt": job.attempt, "error": job.error, "message": job.message}
    transaction.on_commit(lambda: publish_progress(job.pk, "state", **data))


def _roles(request: JobRequest) -> list[tuple]:
    """[(role, its versions in order)], by role, as the job's inputs are kept."""
    return sorted([*request.inputs.items(), (DATASET, request.datasets)], key=lambda row: row[0])


def _known(draft: Draft, asked: JobRequest, key: str | None) -> Job | None:
    """The job this key stands for, if it was the same request; what can't be compared raises why.

    A job that turned out private, as its inputs are, is also the one of a request that left the visibility open.
    """
    job = Job.objects.filter(created_by=draft.actor, idempotency_key=key).first() if key else None
    if job is None:
        return None
    if not draft.comparable:
        draft.require()
    request, kind = draft.request, kind_of(asked.kind)
    place, private = asked.output or kind.place(asked), kind.visibility(asked.visibility) == Visibility.PRIVATE
    # Only files that the request names are compared: what is kept beside the adapter may have changed since.
    named = {(file.role, file.name, file.entry.sha256) for file in draft.given if file.role in asked.files}
    same = (
        job.kind == asked.kind
        and job.recipe == draft.recipe.to_dict()
        and list(job.inputs.values_list("role", "version_id"))
        == [(role, version.pk) for role, versions in _roles(request) for version in versions]
        and named <= set(job.files.values_list("role", "name", "digest"))
        and job.base == draft.base
        and job.keep == list(request.keep)
        and not (private and job.output_visibility == Visibility.PUBLIC)
        and job.output_path.lower() == "/".join(map(str, place or ())).lower()
    )
    if not same:
        raise Conflict(
            f"The idempotency key {key!r} belongs to job {job.pk}, which was another request. Use a new key.",
            code="idempotency_key",
            job=job.pk,
        )
    return job
