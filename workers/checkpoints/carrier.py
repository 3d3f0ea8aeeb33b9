"""Carries the folder that an attempt works in to the store now and then, and to another worker when that takes the job.

A folder's files are each replaced whole, and later stages only read what earlier ones have ended, so a copy made file
by file is a state to go on from. A copy is the job's private property: the newest only, behind the attempt's fence, let
go at the job's end. What is too large, or can't be stored now, stays on this machine alone.
"""

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.db import connection

from hub import faults
from hub.models import Job
from hub.services.content.manifest import Entry
from hub.services.jobs import files
from hub.storage import blobs, digest

# Says in which attempt a folder was last used; the store's copy is newer where it is of a later one.
MARK = ".attempt"
PART = ".part"

# path within the folder → (bytes, time of the last change): what was there when it was looked at.
Listing = dict[str, tuple[int, int]]

log = logging.getLogger(__name__)


class Carrier:
    """The thread that carries one attempt's folder; `end` is called when the attempt is over."""

    def __init__(self) -> None:
        self._over = threading.Event()

    def begin(self, job: Job, folder: Path) -> None:
        """Fetch what another worker left, where that is newer than the folder, then carry what comes of it."""
        self.end()
        fetch(job, folder)
        if not settings.CHECKPOINT_SECONDS:
            return
        self._over = threading.Event()
        how = {"job_id": job.pk, "attempt": job.attempt}
        threading.Thread(target=_carry, args=(folder, how, self._over), name="checkpoints", daemon=True).start()

    def end(self) -> None:
        """Carry nothing more. What is on its way meets the attempt's fence."""
        self._over.set()


def fetch(job: Job, folder: Path) -> bool:
    """Put the job's checkpoint into the folder, unless that has been used in a later attempt; True if it did."""
    attempt, entries = files.checkpoint_of(job)
    fetched = bool(entries) and attempt > _used_in(folder) and _put(entries, folder, job)
    (folder / MARK).write_text(str(job.attempt))
    return fetched


def _used_in(folder: Path) -> int:
    with suppress(OSError, ValueError):
        return int((folder / MARK).read_text())
    return 0


def _put(entries: Mapping[str, Entry], folder: Path, job: Job) -> bool:
    """Replace the folder's content; where a file has been lost since, the job begins anew."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if not path.is_dir() else path.rmdir()
    try:
        for path, entry in entries.items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with blobs.open(entry.sha256) as source, place.open("wb") as out:
                if digest(source, out) != (entry.sha256, entry.size):
                    raise FileNotFoundError(f"{path} has other bytes in the store")
    except FileNotFoundError as lost:
        log.warning("job %s: its checkpoint is gone, it begins anew: %s", job.pk, lost)
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()
        return False
    log.info("job %s goes on from a checkpoint of %s files that another worker left", job.pk, len(entries))
    return True


def _carry(folder: Path, how: Mapping[str, int], over: threading.Event) -> None:
    known: dict[str, tuple[tuple[int, int], Entry]] = {}
    refused = False
    while not over.wait(settings.CHECKPOINT_SECONDS):
        try:
            listing = list_files(folder)
            if sum(size for size, _ in listing.values()) > settings.CHECKPOINT_BYTES:
                if not refused:
                    log.info("job %s: its checkpoint is above HUB_CHECKPOINT_MB and stays here", how["job_id"])
                refused = True
                continue
            if not listing or listing == {path: seen for path, (seen, _) in known.items()}:
                continue
            known = store(folder, listing, known)
            entries = {path: entry for path, (_, entry) in known.items()}
            if not files.keep_checkpoint(**how, entries=entries):
                return
        except FileNotFoundError:
            known = {}  # Removed while it was looked at.
        except Exception as error:
            if not faults.passing(error):
                log.exception("job %s: its checkpoint was not stored", how["job_id"])
            else:
                log.warning("job %s: its checkpoint is stored later: %s", how["job_id"], error)
            known = {}
        finally:
            connection.close()


def list_files(folder: Path) -> Listing:
    """The folder's files but our mark and what is being written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        with suppress(FileNotFoundError):
            status = path.stat()
            if path.is_file() and path.name != MARK and not path.name.endswith(PART):
                found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns)
    return found


def store(
    folder: Path, listing: Listing, known: Mapping[str, tuple[tuple[int, int], Entry]]
) -> dict[str, tuple[tuple[int, int], Entry]]:
    """Store each listed file that has changed since it was stored; what is stored, with how it was seen."""
    stored = {}
    for path, seen in listing.items():
        before = known.get(path)
        if before and before[0] == seen:
            stored[path] = before
            continue
        with suppress(FileNotFoundError), (folder / path).open("rb") as source:
            stored[path] = (seen, Entry(*blobs.put(source)))
    return stored
