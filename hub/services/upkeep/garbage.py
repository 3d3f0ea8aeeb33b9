"""Garbage: abandoned pushes, bytes that nothing refers to, and what killed processes left on this machine."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from os import pathsep
from pathlib import Path

from django.conf import settings

from hub.services import arrivals
from hub.services.content.collection import Collected, collect_blobs
from hub.services.sharing.forgetting import forget_closed
from hub.services.upkeep.expiry import expire_uploads

# How workers name a folder they are still filling: in their cache, and beside the base that they convert. Names of
# their own, as HUB_BASES may be a folder that others keep things in.
IN_CACHE, IN_BASES = ".part-*", ".hub-part-*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What was removed, or with `dry_run` would be: uploads, blobs and leftover folders, with their bytes.

    What came before a commit that never came (`hub.services.arrivals`) counts as an upload, and so does what was
    proposed and closed long ago (`hub.services.sharing.forgetting`).
    """

    uploads: int
    blobs: Collected
    leftovers: int
    leftover_bytes: int

    def __str__(self) -> str:
        done = self.blobs
        return (
            f"{self.uploads} abandoned uploads, {done.files} blobs ({done.bytes:,} bytes), "
            f"{done.temporary} temporary files, {self.leftovers} leftover folders ({self.leftover_bytes:,} bytes)"
        )

    def to_json(self) -> dict:
        """The same figures for programs."""
        return {
            "uploads": self.uploads,
            "blob_rows": self.blobs.rows,
            "blobs": self.blobs.files,
            "blob_bytes": self.blobs.bytes,
            "temporary_files": self.blobs.temporary,
            "leftover_folders": self.leftovers,
            "leftover_bytes": self.leftover_bytes,
        }


def collect_garbage(
    *, grace: timedelta | None = None, dry_run: bool = False, go_on: Callable[[], bool] = lambda: True
) -> Garbage:
    """Remove it all; `grace` (HUB_KEEP_UNUSED_HOURS) is the least age of bytes and folders that are removed.

    Safe beside uploads, jobs and other collectors. Uploads have a time of their own, HUB_KEEP_UPLOADS_DAYS.
    """
    grace = timedelta(hours=settings.KEEP_UNUSED_HOURS) if grace is None else grace
    how = {"dry_run": dry_run, "go_on": go_on}
    uploads = expire_uploads(**how) + arrivals.expire(**how) + forget_closed(**how)
    blobs = collect_blobs(grace=grace, dry_run=dry_run, go_on=go_on)
    count = freed = 0
    for folder in leftovers(grace):
        if not go_on():
            break
        count, freed = count + 1, freed + _size(folder)
        if not dry_run:
            shutil.rmtree(folder, ignore_errors=True)
    return Garbage(uploads=uploads, blobs=blobs, leftovers=count, leftover_bytes=freed)


def leftovers(grace: timedelta) -> Iterator[Path]:
    """Folders that killed workers of this machine left half filled, where nothing was written within `grace`."""
    places = [(Path(settings.WORKER_CACHE), IN_CACHE)]
    for root in map(Path, str(settings.WORKER_BASES).split(pathsep)):
        places += [(folder, IN_BASES) for folder in (root, *root.glob("*/"))]
    for place, pattern in places:
        for folder in place.glob(pattern):
            if folder.is_dir() and not folder.is_symlink() and time.time() - touched(folder) > grace.total_seconds():
                yield folder


def touched(folder: Path) -> float:
    """When the folder or anything in it was last written, in seconds since 1970; 0 where it is gone."""
    return max(_stat(path)[0] for path in (folder, *folder.rglob("*")))


def _size(folder: Path) -> int:
    return sum(_stat(path)[1] for path in folder.rglob("*"))


def _stat(path: Path) -> tuple[float, int]:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0.0, 0
    return found.st_mtime, found.st_size
