"""The audit log's one writer.

An event is listed by namespace and by repository. Its keys come from its object; where that is a text or a base, the
caller gives them. What concerns an account alone (passwords, tokens) and bases have no keys: a namespace may have more
admins than its owner, and bases belong to nobody.
"""

from hub import logs, origin
from hub.models import (
    Companion,
    Event,
    Job,
    JobInput,
    Kind,
    Membership,
    Namespace,
    Ref,
    Repository,
    Revision,
    Upload,
    User,
    Version,
)
from hub.services.webhooks.notices import notify

IN_A_REPOSITORY = (Version, Revision, Ref, Companion, Upload)


def record(
    actor: User | None,
    verb: str,
    object: object,
    *,
    namespace: Namespace | None = None,
    repository: Repository | None = None,
    once: str | None = None,
    **detail: object,
) -> None:
    """Note that `actor` did `verb` to `object`; `detail` is kept as JSON. `actor` is None where a worker acted.

    With `once`, at most 64 characters, nothing is noted where an event of the same `once` is there already.

    `namespace` and `repository` are the keys it is listed by, where the object itself doesn't tell them.
    """
    speaks_of = repository or namespace or object
    namespace_id, repository_id = _keys(speaks_of)
    words = _job_words(object.pk) if isinstance(object, Job) else str(object)
    event = Event(
        actor=actor,
        verb=verb,
        object=words[:300],
        detail=detail,
        namespace_id=namespace_id,
        repository_id=repository_id,
        address=origin.address(),
        request=logs.request_id() or None,
        once=once,
    )
    if once is None:
        event.save(force_insert=True)
        notify(event)
    else:
        Event.objects.bulk_create([event], ignore_conflicts=True)


def adopt(repository: Repository) -> None:
    """List the events of the jobs that were to make `repository` under it, now that it exists; none makes a dataset."""
    if repository.is_dataset:
        return
    jobs = Job.objects.filter(output_namespace=repository.namespace_id, output_name__iexact=repository.name)
    names = [_job_words(pk) for pk in jobs.values_list("pk", flat=True)]
    if names:
        Event.objects.filter(object__in=names, repository=None).update(repository=repository)


def _keys(object: object) -> tuple[int | None, int | None]:
    """The ids of the namespace and of the repository that an object belongs to."""
    if isinstance(object, Repository):
        return object.namespace_id, object.pk
    if isinstance(object, IN_A_REPOSITORY):
        return _keys(object.repository)
    if isinstance(object, Namespace):
        return object.pk, None
    if isinstance(object, Membership):
        return object.namespace_id, None
    if isinstance(object, Job):
        return _keys_of_job(object)
    return None, None


def _keys_of_job(job: Job) -> tuple[int | None, int | None]:
    """Those of its output, whose repository may not exist yet; of a job without output those of its first input.

    A job without output changes nobody's repository: where its owner is no member there, it has no keys.
    """
    if job.output_namespace_id is None:
        rows = JobInput.objects.filter(job=job)
        first = rows.values_list("version__repository__namespace_id", "version__repository_id").first()
        theirs = first and Membership.objects.filter(user=job.created_by_id, namespace=first[0]).exists()
        return first if theirs else (None, None)
    models = Repository.objects.filter(deleted_at=None).exclude(kind=Kind.DATASET)
    found = models.filter(namespace=job.output_namespace_id, name__iexact=job.output_name)
    return job.output_namespace_id, job.output_id or found.values_list("pk", flat=True).first()


def _job_words(pk: int) -> str:
    return f"job {pk}"
