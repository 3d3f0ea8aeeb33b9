"""What was checked when a job was queued is checked again where it acts: when it is retried, claimed and published.

In between, its owner may have left an organisation, an input may have become private or gone to the trash, and the
place of the result may have changed hands. The job acts for its owner, so it is their access that counts, whoever
retries it. A job that was asked for by a limited token stays within that token's limit, also when a person retries it
in the browser, and when the token has been revoked since.
"""

from collections.abc import Sequence

from hub import access
from hub.errors import Conflict, Invalid
from hub.models import Job, JobInput, Repository, User, Version, sharing_names
from hub.services.jobs.draft import Draft
from hub.services.jobs.files import require_companions
from hub.services.jobs.inputs import require_inputs
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.prepare import prepare
from hub.services.jobs.request import JobRequest


def recheck(job: Job) -> Draft:
    """Prepare a stored job again, from fresh rows. Raises what `prepare` raises."""
    _require_owner(job)
    require_place(job)
    request = JobRequest.of(job)
    if kind_of(job.kind).place(request):
        # Kept with the job is the name that this place had then.
        request = request.replace(output=None)
    return prepare(access.viewer_of_job(job), request)


def require_sight(job: Job) -> None:
    """Refuse a job whose owner no longer sees, or may no longer have, an input or a companion that it reads.

    Call it in the transaction that writes the job's result.
    """
    _require_owner(job)
    require_companions(access.viewer_of_job(job), job.files.values_list("companion", flat=True))
    rows = JobInput.objects.filter(job=job).select_related("version__repository__namespace")
    require_inputs(access.viewer_of_job(job), [row.version for row in rows])


def require_place(job: Job) -> None:
    """Refuse a job whose place went to the trash since it was asked for: no other takes that one's name unasked."""
    named = Repository.objects.filter(namespace=job.output_namespace, name__iexact=job.output_name, purged_at=None)
    gone = named.filter(sharing_names(kind_of(job.kind).makes), deleted_at__gt=job.created_at).first()
    if job.output_namespace_id and gone:
        raise Invalid(
            f"{gone.path} was put into the trash after this job was asked for. Restore it and retry the job, or start "
            "the job again for another name.",
            field="output",
        )


def _require_owner(job: Job) -> None:
    """Refuse a job whose owner's account is deactivated or deleted: there is nobody it could act for."""
    if not User.objects.filter(pk=job.created_by_id, is_active=True).exists():
        raise Conflict(
            f"Job {job.pk} can't go on: the account that asked for it is gone. Start it again as your own.",
            code="job.owner_gone",
        )


def fresh(versions: Sequence[Version]) -> list[Version]:
    """The same versions in the same order, with their repositories as they are now."""
    rows = Version.objects.filter(pk__in=[version.pk for version in versions])
    now = {row.pk: row for row in rows.select_related("repository__namespace", "base")}
    return [now[version.pk] for version in versions]
