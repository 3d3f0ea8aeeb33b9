"""Room on the disks that the hub writes to: some is always left, so that deleting works and nothing is cut in half.

Below the minimum, whatever would store something new is refused with 507 and a sentence; reading, deleting and
abandoning go on, out of what was left. Where a disk is full all the same, the system's error becomes that refusal.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection

from hub.errors import DiskFull
from hub.storage import blobs

MB = 1_000_000
MOST_KEPT_FREE, SHARE_KEPT_FREE = 1000 * MB, 0.02
FULL = (errno.ENOSPC, errno.EDQUOT)
POSTGRES_DISK_FULL = "53100"


def low(*more: str | os.PathLike, size: int = 0) -> str:
    """Why nothing new may be written, as a sentence; "" where there is room, also for `size` bytes more.

    Looks at the folders of database, uploads and blobs that are on this machine, and at `more`.
    """
    for path in (*_folders(), *map(Path, more)):
        free, least = _room(path)
        if free - size < least:
            need = f" and this needs {size / MB:,.0f} MB" if size and free >= least else ""
            return (
                f"The hub's disk is nearly full: {free / MB:,.0f} MB are free{need}, and {least / MB:,.0f} MB are kept "
                "free. Nothing new is stored until there is room; reading and deleting go on. Delete what is not "
                "needed, or tell an administrator of this hub."
            )
    return ""


def require_room(size: int = 0) -> None:
    """DiskFull where there is no room to write something new, of about `size` bytes."""
    if reason := low(size=size):
        raise DiskFull(reason)


def refusal_of(error: BaseException) -> DiskFull | None:
    """The refusal that an error of the system or the database stands for, where a full disk is behind it."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, DiskFull):
            return cause
        if _says_full(cause):
            return DiskFull(
                "The hub's disk is full, so this was not stored. Try again when there is room: delete what is not "
                "needed, or tell an administrator of this hub."
            )
        cause = cause.__cause__ or cause.__context__
    return None


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    if isinstance(error, DatabaseError):
        return "disk is full" in str(error)
    return getattr(error, "sqlstate", None) == POSTGRES_DISK_FULL


def _folders() -> Iterator[Path]:
    yield Path(settings.UPLOAD_FOLDER)
    if (root := blobs.local_path("0" * 64)) is not None:
        yield root
    if connection.vendor == "sqlite":
        yield Path(connection.settings_dict["NAME"])


def _room(path: Path) -> tuple[int, int]:
    """(bytes free for us, bytes to keep free) of the disk that a path is on, or will be."""
    while not path.exists() and path != path.parent:
        path = path.parent
    found = os.statvfs(path)
    if settings.MIN_FREE_MB is not None:
        return found.f_bavail * found.f_frsize, settings.MIN_FREE_MB * MB
    return found.f_bavail * found.f_frsize, int(min(MOST_KEPT_FREE, SHARE_KEPT_FREE * found.f_blocks * found.f_frsize))
