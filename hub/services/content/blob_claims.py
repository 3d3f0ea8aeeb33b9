"""Claiming stored bytes for a manifest: a row for each, locked, so that collecting and publishing never overlap."""

from hub.errors import Conflict
from hub.models import Blob
from hub.services.content.manifest import Entry
from hub.storage import blobs


def claim_blobs(entries: set[Entry]) -> None:
    """Rows for these bytes, locked against the collector, with the bytes really there."""
    ordered = sorted(entries)
    rows = _locked_rows(ordered)
    if len(rows) < len(ordered):  # a row that the collector was deleting stood in the way; it is gone now
        rows = _locked_rows(ordered)
    sizes = blobs.sizes([entry.sha256 for entry in ordered])
    for entry in ordered:
        if (size := sizes.get(entry.sha256)) is None:
            raise gone(entry.sha256)
        if not size == entry.size == rows[entry.sha256].size:
            raise ValueError(f"blob {entry.sha256} has {size} bytes, said to have {entry.size}")


def _locked_rows(entries: list[Entry]) -> dict[str, Blob]:
    Blob.objects.bulk_create([Blob(sha256=e.sha256, size=e.size) for e in entries], ignore_conflicts=True)
    found = Blob.objects.select_for_update().filter(sha256__in=[e.sha256 for e in entries]).order_by("sha256")
    return {row.sha256: row for row in found}


def gone(which: str) -> Conflict:
    """The refusal for bytes that the store has lost or collected."""
    return Conflict(f"The bytes {which} are not in the store; send the file again.", code="blob.gone")
