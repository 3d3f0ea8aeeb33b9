"""What has come of an upload's files, checked: by its first bytes, by its length, by its digest."""

from collections.abc import Collection

from composition.formats.content import SNIFF_BYTES, sniff
from hub.errors import Conflict, Invalid
from hub.models import UploadFile
from hub.services.content import staging


def refuse_by_first_bytes(file: UploadFile, head: bytes, beside: Collection[str] = ()) -> None:
    """Refuse early what the commit would refuse anyway, before gigabytes have come."""
    sniff(file.path, head[:SNIFF_BYTES], size=file.size, beside=beside)


def refuse_incomplete(files: Collection[UploadFile]) -> None:
    missing = [row for row in files if staging.received(row) != row.size]
    if missing:
        first = missing[0]
        raise Conflict(
            f"{len(missing)} of the promised files are not complete; {first.path} has {staging.received(first)} of "
            f"{first.size} bytes. Send the rest, then commit.",
            code="upload.incomplete",
            files=[{"path": row.path, "received": staging.received(row), "size": row.size} for row in missing],
        )


def check_digest(file: UploadFile, source: staging.Staged | None = None) -> None:
    computed = staging.digest(file, source)
    if computed != file.sha256:
        staging.discard(file)
        raise Invalid(
            f"{file.path} was promised with SHA-256 {file.sha256}, but what arrived has {computed}. It was damaged on "
            "its way or has changed since; send it again from its first byte.",
            code="upload.digest",
            path=file.path,
            declared=file.sha256,
            computed=computed,
        )
