"""Collecting bytes that nothing refers to: blobs of refused pushes, of removed companions, of killed processes.

Bytes are given a day's grace from when they were last stored, so that a worker or an upload that has stored them and
not yet published finds them. A row is deleted under its lock, and publishing takes the same lock. While a backup runs
nothing is deleted: what its snapshot refers to has to be there when it is copied.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from hub.models import Blob, clock
from hub.services.upkeep.batches import batched, pks
from hub.services.upkeep.leases import BACKUP, is_held
from hub.storage import blobs

GRACE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """How many blob rows, stored blobs and bytes were deleted, and temporary files of killed processes."""

    rows: int
    files: int
    bytes: int
    temporary: int = 0


def collect_blobs(
    *, grace: timedelta = GRACE, dry_run: bool = False, go_on: Callable[[], bool] = lambda: True
) -> Collected:
    """Delete every blob that no row refers to and nobody stored within `grace`; with `dry_run`, count them only.

    `go_on` is asked before each blob; once it answers False, the rest is left for the next time.
    """
    before = clock.read() - grace
    remove = _would_collect if dry_run else collect
    rows = files = freed = 0
    for sha256 in chain.from_iterable(pks(unreferenced())):
        if not go_on():
            break
        if (size := remove(sha256, before)) is not None:
            rows, files, freed = rows + 1, files + 1, freed + size
    remove = _would_collect_without_row if dry_run else collect_without_row
    for sha256 in without_row():
        if not go_on():
            break
        if (size := remove(sha256, before)) is not None:
            files, freed = files + 1, freed + size
    temporary = blobs.sweep_incoming(before, dry_run=dry_run)
    return Collected(rows=rows, files=files, bytes=freed, temporary=temporary)


def unreferenced() -> QuerySet[Blob]:
    """Blobs that no row of any model points at; a new reference to Blob counts here by itself."""
    found = Blob.objects.all()
    for relation in Blob._meta.get_fields(include_hidden=True):
        if relation.one_to_many or relation.one_to_one:
            found = found.exclude(
                Exists(relation.related_model.objects.filter(**{relation.field.name: OuterRef("pk")}))
            )
    return found


def without_row() -> Iterator[str]:
    """The digests of stored bytes that have no row."""
    for some in batched(blobs.walk()):
        known = set(Blob.objects.filter(pk__in=some).values_list("pk", flat=True))
        yield from (sha256 for sha256 in some if sha256 not in known)


def is_old(sha256: str, before: datetime) -> bool:
    """True if the bytes were stored before then, or are not there at all."""
    try:
        return not blobs.exists(sha256) or blobs.modified(sha256) < before
    except FileNotFoundError:
        return True  # Another collector took it in between.


def collect(sha256: str, before: datetime) -> int | None:
    """Delete one blob and its row: the bytes freed; None where it is young, or somebody refers to it by now.

    None also while a backup holds its lease. That is asked last: what was still referred to when the backup took its
    snapshot was let go after the lease was taken, so whoever finds it free here finds the lease too.
    """
    with transaction.atomic():
        row = Blob.objects.select_for_update(of=("self",)).filter(pk=sha256).first()
        if row is None or not unreferenced().filter(pk=sha256).exists() or not is_old(sha256, before):
            return None
        if is_held(BACKUP):
            return None
        row.delete()
        blobs.delete(sha256)
    return row.size


def _would_collect(sha256: str, before: datetime) -> int | None:
    row = Blob.objects.filter(pk=sha256).first()
    return row.size if row and is_old(sha256, before) else None


def collect_without_row(sha256: str, before: datetime) -> int | None:
    """The same for bytes without a row: they are given one first, so that publishing and collecting share its lock."""
    try:
        if not is_old(sha256, before):
            return None
        Blob.objects.bulk_create([Blob(sha256=sha256, size=blobs.size(sha256))], ignore_conflicts=True)
    except FileNotFoundError:
        return None
    return collect(sha256, before)


def _would_collect_without_row(sha256: str, before: datetime) -> int | None:
    try:
        return blobs.size(sha256) if is_old(sha256, before) else None
    except FileNotFoundError:
        return None
