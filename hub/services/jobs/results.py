"""A worker's results: written in one transaction with the end of the job, behind the fence of its attempt.

Bytes are in the blob store before (nobody sees a blob that no manifest names); then repository, revision, version,
evaluation or shapes appear together with DONE, or not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction

from composition.registry import METHODS
from hub.access import viewer_of_job
from hub.models import BaseModel, Job, Repository, Version, sharing_names
from hub.services.content.checking import check_files
from hub.services.content.companions import DISCRIMINATOR, keep
from hub.services.content.manifest import Entry
from hub.services.content.publishing import change_of, check_change, publish
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.lease import finish
from hub.services.jobs.output import check_output, resulting_visibility
from hub.services.jobs.recheck import fresh, require_place, require_sight
from hub.services.jobs.storable import storable
from hub.services.known_bases import set_shapes
from hub.services.refs import lock
from hub.services.repositories import create_repository


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Bytes that are kept beside a result, privately: `kind`/`vN` + `suffix`, named after its version."""

    kind: str
    entry: Entry
    facts: dict
    suffix: str = ".jsonl"


def publish_result(
    *,
    job: Job,
    files: Mapping[str, tuple[str, int]],
    parents: Sequence[Version],
    origin: str,
    message: str,
    report: dict,
    environment: dict,
    beside: Sequence[Beside] = (),
) -> Version:
    """Publish `files` (path → (sha256, size)) where `job` wants them, keep `beside` with them, and end the job.

    Raises LostLease for an attempt that is over, and whatever the owner may no longer do: then nothing is written.
    """
    kind, label = kind_of(job.kind), METHODS[job.kind].label
    models = Repository.objects.filter(sharing_names(kind.makes), deleted_at=None)
    found = models.filter(namespace=job.output_namespace, name__iexact=job.output_name).first()
    if found:
        checked = check_change(repository=found, change=change_of(files=files, replace=True), base=job.base)
    else:
        checked = check_files(kind.makes, {p: Entry(*entry) for p, entry in sorted(files.items())}, base=job.base)
    with transaction.atomic():
        finish(job_id=job.pk, attempt=job.attempt, environment=environment)
        require_sight(job)
        require_place(job)
        parents = fresh(parents)
        where = (job.output_namespace.name, job.output_name)
        namespace, name = check_output(viewer_of_job(job), kind, label, where, parents, job.output_visibility)
        repository = models.filter(namespace=namespace, name__iexact=name).first() or create_repository(
            actor=job.created_by,
            namespace=namespace,
            name=name,
            kind=kind.makes,
            visibility=resulting_visibility(parents, job.output_visibility),
        )
        published = publish(
            actor=job.created_by,
            repository=repository,
            files=files,
            replace=True,
            message=message,
            base=job.base,
            origin=origin,
            recipe=job.recipe,
            report=report,
            environment=environment,
            parents=parents,
            job=job,
            checked=checked,
        )
        for one in beside:
            name = f"{published.version.label}{one.suffix}"
            keep(actor=job.created_by, repository=repository, kind=one.kind, files={name: one.entry}, facts=one.facts)
        Job.objects.filter(pk=job.pk).update(output=repository, result=published.version)
    return published.version


@transaction.atomic
def keep_discriminator(
    *, job: Job, version: Version, files: Mapping[str, tuple[str, int]], facts: Mapping[str, object], environment: dict
) -> None:
    """Keep a discriminator beside its adapter, privately, in place of that version's last one, and end the job.

    Raises LostLease for an attempt that is over, and PermissionDenied for an owner who may no longer write there.
    """
    figures = {key: value for key, value in facts.items() if isinstance(value, int | float)}
    finish(job_id=job.pk, attempt=job.attempt, environment=environment, figures=figures)
    require_sight(job)
    (version,) = fresh([version])
    where = (version.repository.namespace.name, version.repository.name)
    check_output(viewer_of_job(job), kind_of(job.kind), METHODS[job.kind].label, where, [version])
    entries = {name: Entry(*entry) for name, entry in files.items()}
    digests = {name: entry.sha256 for name, entry in entries.items()}
    keep(
        actor=job.created_by,
        repository=lock(version.repository),
        kind=DISCRIMINATOR,
        files={f"{version.label}/{name}": entry for name, entry in entries.items()},
        facts={**facts, "base": str(job.base), "version": version.label, "sha256": digests, "job": job.pk},
    )
    Job.objects.filter(pk=job.pk).update(output=version.repository)


@transaction.atomic
def keep_shapes(
    *, job: Job, shapes: Mapping[str, Sequence[int]], fingerprint: str, parameters: int, environment: dict
) -> BaseModel:
    """Keep a base's shapes and end the job that read them."""
    finish(job_id=job.pk, attempt=job.attempt, environment=environment)
    return set_shapes(base=job.base, shapes=shapes, fingerprint=fingerprint, parameters=parameters)


@transaction.atomic
def keep_outcome(*, job: Job, outcome: dict, environment: dict) -> None:
    """Keep what a job answers that publishes nothing, and end it. Raises LostLease for an attempt that is over."""
    finish(job_id=job.pk, attempt=job.attempt, environment=environment)
    require_sight(job)
    Job.objects.filter(pk=job.pk).update(outcome=storable(outcome))
