"""The private inputs of a job that are no versions: fixed by digest when it is queued, let go when it is over.

Which there are is for the job's kind to say. The dry run finds the same files and stores nothing.
"""

import hashlib
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from hub import access, faults
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import HELD, Blob, Companion, Job, JobCheckpoint, JobFile, State, clock
from hub.services.content.blob_claims import claim_blobs
from hub.services.content.collection import collect, collect_without_row, unreferenced
from hub.services.content.manifest import Entry
from hub.storage import blobs

NO_RESULT = (State.FAILED, State.CANCELLED)
# A checkpoint's bytes were stored no later than this after its row says, by the store's own clock.
STORED_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One file: `data` where it came with the request and is stored nowhere yet, else its bytes are in the store.

    `companion` is the id of the row that it was taken from, where it was.
    """

    role: str
    name: str
    entry: Entry
    facts: dict = field(default_factory=dict)
    data: bytes | None = None
    companion: int | None = None


def sent(role: str, name: str, data: bytes, facts: dict) -> Given:
    """Bytes that came with the request and are stored nowhere yet."""
    return Given(role=role, name=name, entry=Entry(hashlib.sha256(data).hexdigest(), len(data)), facts=facts, data=data)


def hold(job: Job, given: Sequence[Given]) -> None:
    """Store what came with the request and note all files; call it in the transaction that makes the job."""
    for file in given:
        if file.data is not None:
            blobs.put(io.BytesIO(file.data))
    claim_blobs({file.entry for file in given})
    held = {blob.pk: blob for blob in Blob.objects.filter(pk__in={file.entry.sha256 for file in given})}
    for file in given:
        digest = file.entry.sha256
        where = {"role": file.role, "name": file.name, "companion": file.companion}
        JobFile.objects.create(job=job, **where, blob=held[digest], digest=digest, facts=file.facts)


def let_go(job_id: int) -> None:
    """A job that is done needs its files no more; their digests stay. Of its checkpoint nothing stays."""
    JobFile.objects.filter(job_id=job_id).update(blob=None)
    forget_checkpoints(JobCheckpoint.objects.filter(job_id=job_id))


def keep_checkpoint(*, job_id: int, attempt: int, entries: Mapping[str, Entry]) -> bool:
    """Make these stored bytes, by their paths, the job's checkpoint in place of the one before.

    False where the attempt is over: then nothing is changed, and the bytes that were stored for it go.
    """
    with transaction.atomic():
        held = Job.objects.select_for_update().filter(pk=job_id, attempt=attempt, state__in=HELD).first()
        if held is not None:
            claim_blobs(set(entries.values()))
            kept = {entry.sha256 for entry in entries.values()}
            forget_checkpoints(JobCheckpoint.objects.filter(job_id=job_id), but=kept)
            rows = [
                JobCheckpoint(job_id=job_id, path=path, blob_id=entry.sha256, attempt=attempt, stored_at=clock.read())
                for path, entry in entries.items()
            ]
            JobCheckpoint.objects.bulk_create(rows)
    if held is None:
        for entry in entries.values():
            collect_without_row(entry.sha256, clock.read() + STORED_WITHIN)
    return held is not None


def checkpoint_of(job: Job) -> tuple[int, dict[str, Entry]]:
    """The attempt that left the job's checkpoint, and its files by path; 0 and {} where there is none."""
    rows = list(JobCheckpoint.objects.filter(job=job).select_related("blob"))
    return (rows[0].attempt if rows else 0), {row.path: Entry(row.blob_id, row.blob.size) for row in rows}


def forget_checkpoints(rows: QuerySet[JobCheckpoint], *, but: Collection[str] = ()) -> None:
    """Delete these rows, and once that is committed the bytes that nothing else refers to; not those of `but`."""
    gone = [(sha256, at) for sha256, at in rows.values_list("blob_id", "stored_at") if sha256 not in but]
    rows.delete()

    def remove() -> None:
        for sha256, stored_at in gone:
            with faults.spared(f"the end of a checkpoint's bytes {sha256}"):
                collect(sha256, stored_at + STORED_WITHIN)

    transaction.on_commit(remove)


def kept_since() -> datetime | None:
    """Before then jobs that ended without a result have let go of what they were given; None where none has."""
    days = settings.KEEP_JOB_FILES_DAYS
    return clock.read() - timedelta(days=days) if days else None


def purge() -> int:
    """Let go of the files of jobs that ended without a result before `kept_since`; how many.

    Then delete the bytes of all files that were let go, those of done jobs too, unless something else refers to them.
    The jobs are locked, so that none is queued again meanwhile and finds its files gone.
    """
    before = kept_since()
    if before is None:
        return 0
    forget_checkpoints(JobCheckpoint.objects.filter(job__state__in=NO_RESULT, job__finished_at__lt=before))
    with transaction.atomic():
        held = Exists(JobFile.objects.filter(job=OuterRef("pk"), blob__isnull=False))
        over = Job.objects.select_for_update().filter(held, state__in=NO_RESULT, finished_at__lt=before)
        gone = JobFile.objects.filter(job__in=list(over.values_list("pk", flat=True))).update(blob=None)
    free = unreferenced().filter(pk__in=JobFile.objects.filter(blob=None).values("digest"))
    for sha256 in list(free.values_list("pk", flat=True)):
        collect(sha256, before)
    return gone


def require(job: Job) -> None:
    """Invalid where a job's files are gone, so that it can't run again."""
    gone = job.files.filter(blob=None).first()
    if gone:
        raise Invalid(
            f"The file {gone.name} of this job (its {gone.role}) has been removed since; start a new job.",
            field="files",
        )


def held(job: Job) -> list[Given]:
    """A stored job's files, whose bytes are still there."""
    rows = JobFile.objects.filter(job=job, blob__isnull=False).select_related("blob")
    return [
        Given(
            role=row.role,
            name=row.name,
            entry=Entry(row.blob_id, row.blob.size),
            facts=row.facts,
            companion=row.companion,
        )
        for row in rows
    ]


def require_companions(viewer: Viewer, taken: Iterable[int | None]) -> None:
    """NotFound for a companion, by its id, that the viewer can't see any more; a job keeps what has been removed."""
    rows = Companion.objects.filter(pk__in=set(taken) - {None})
    may_see = access.visible_companions(viewer) & access.visible(viewer, prefix="repository__")
    hidden = rows.exclude(pk__in=rows.filter(may_see)).first()
    if hidden:
        raise access.missing(f"{hidden.kind}/{hidden.name}", "companion")


def files_of(job: Job, role: str) -> dict[str, Entry]:
    """name → bytes of one role, as the job's worker reads them."""
    held = JobFile.objects.filter(job=job, role=role, blob__isnull=False).select_related("blob")
    return {row.name: Entry(row.blob_id, row.blob.size) for row in held}


def facts_of(job: Job, role: str) -> dict:
    """What is known of a role's files; {} where there is none."""
    row = JobFile.objects.filter(job=job, role=role).first()
    return row.facts if row else {}
