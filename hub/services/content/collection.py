"""Collecting bytes that nothing refers to: blobs of refused pushes, of removed companions, of killed processes.

Bytes are given a day's grace from when they were last stored, so that a worker or an upload that has stored them and
not yet published finds them. A row is deleted under its lock, and publishing takes the same lock.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from hub.models import Blob
from hub.storage import blobs

GRACE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """How many blob rows, stored blobs and bytes were deleted."""

    rows: int
    files: int
    bytes: int


def collect_blobs(*, grace: timedelta = GRACE) -> Collected:
    """Delete every blob that no row refers to and nobody stored within `grace`."""
    before = timezone.now() - grace
    rows = files = freed = 0
    for sha256 in list(unreferenced().values_list("sha256", flat=True)):
        size = collect(sha256, before)
        if size is not None:
            rows, files, freed = rows + 1, files + 1, freed + size
    for sha256 in blobs.walk():
        if not Blob.objects.filter(pk=sha256).exists() and (size := _collect_without_row(sha256, before)) is not None:
            files, freed = files + 1, freed + size
    blobs.sweep_incoming(before)
    return Collected(rows=rows, files=files, bytes=freed)


def unreferenced() -> QuerySet[Blob]:
    """Blobs that no row of any model points at; a new reference to Blob counts here by itself."""
    found = Blob.objects.all()
    for relation in Blob._meta.get_fields(include_hidden=True):
        if relation.one_to_many or relation.one_to_one:
            found = found.exclude(
                Exists(relation.related_model.objects.filter(**{relation.field.name: OuterRef("pk")}))
            )
    return found


def collect(sha256: str, before: datetime) -> int | None:
    """Delete one blob and its row: the bytes freed; None where it is young, or somebody refers to it by now."""
    with transaction.atomic():
        row = Blob.objects.select_for_update(of=("self",)).filter(pk=sha256).first()
        if row is None or not unreferenced().filter(pk=sha256).exists() or not _is_old(sha256, before):
            return None
        row.delete()
        blobs.delete(sha256)
    return row.size


def _collect_without_row(sha256: str, before: datetime) -> int | None:
    """The same for bytes without a row: they are given one first, so that publishing and collecting share its lock."""
    try:
        if not _is_old(sha256, before):
            return None
        Blob.objects.bulk_create([Blob(sha256=sha256, size=blobs.size(sha256))], ignore_conflicts=True)
    except FileNotFoundError:
        return None
    return collect(sha256, before)


def _is_old(sha256: str, before: datetime) -> bool:
    try:
        return not blobs.exists(sha256) or blobs.modified(sha256) < before
    except FileNotFoundError:
        return True  # Another collector took it in between.
