"""Bytes on their way in: one file per promised file under the upload folder, appended to until it is whole.

What lies on the disk is the truth; the rows' `received` follows it. A file that has reached its promised size is never
written again, only removed, so that the blob store may take it by a second link instead of a copy.
"""

import contextlib
import errno
import fcntl
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from hub import disk
from hub.errors import Conflict, HubError
from hub.models import ChunkStore, Upload, UploadFile
from hub.services.arrivals import digests
from hub.services.upkeep import sweeps
from hub.storage import CHUNK

LOCK_SECONDS = 3.0
LOCK = "lock"
COPIED_AT_MOST = 1 << 30  # bytes of a part that a new upload is given a copy of
SMALL = 1 << 20  # a file of at most this is read for its digest in the end
FULL = (errno.ENOSPC, errno.EDQUOT)


def folder(upload: Upload) -> Path:
    """Where the upload's files are collected."""
    return Path(settings.UPLOAD_FOLDER) / str(upload.pk)


def path_of(file: UploadFile) -> Path:
    """Where one file is collected: by its row's number, never by a client's name."""
    return Path(settings.UPLOAD_FOLDER) / str(file.upload_id) / str(file.pk)


def received(file: UploadFile) -> int:
    """Bytes that have come; all of them where the repository holds the blob already."""
    if file.blob_id:
        return file.size
    return _size(path_of(file))


@contextlib.contextmanager
def locked(path: Path, *, patience: float = LOCK_SECONDS) -> Iterator[BinaryIO]:
    """The file, made if missing, opened for appending and held against other requests; Conflict where it is busy."""
    deadline = time.monotonic() + patience
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = open(path, "ab")  # noqa: SIM115 - closed below, on every way out
        except (FileExistsError, FileNotFoundError):  # Another request is removing the folder at this moment.
            if time.monotonic() > deadline:
                raise
            continue
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(stream, path):
                break
        except BlockingIOError:
            if time.monotonic() > deadline:
                stream.close()
                raise _busy(path) from None
            time.sleep(0.05)
        except BaseException:
            stream.close()
            raise
        stream.close()
    try:
        yield stream
    finally:
        stream.close()


def _busy(path: Path) -> Conflict:
    refusal = Conflict(
        "Another request is working on this at the moment; wait for it, then ask how much has come.",
        code="upload.busy",
        received=_size(path),
    )
    refusal.headers["Retry-After"] = "2"
    return refusal


def whole(upload: UUID, *, patience: float = LOCK_SECONDS) -> contextlib.AbstractContextManager[BinaryIO]:
    """Hold all of an upload's files where they are: against a second commit, against being taken over or removed."""
    return locked(Path(settings.UPLOAD_FOLDER) / str(upload) / LOCK, patience=patience)


@contextlib.contextmanager
def whole_even_on_a_full_disk(upload: UUID) -> Iterator[None]:
    """The same for who only removes: where not even a lock can be written, no commit holds one either."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(whole(upload))
        except OSError as error:
            if error.errno not in FULL:
                raise
        yield


def append(file: UploadFile, out: BinaryIO, stream: BinaryIO, *, goes_on: bool = False) -> bool:
    """Copy what the file may still have and sync it, also when the sender breaks off; True if it had more to send.

    With `goes_on` the same request brings more, and its last bytes sync these as well: nobody is told of them before.
    DiskFull where the disk has become nearly full; what came before is kept.
    """
    synced_later, at = False, os.fstat(out.fileno()).st_size
    try:
        while at < file.size:
            disk.require_room()
            chunk = stream.read(min(CHUNK, file.size - at))
            if not chunk:
                synced_later = goes_on
                return False
            _write(path_of(file), out, at, [chunk], file.size)
            at += len(chunk)
        return bool(stream.read(1))
    finally:
        if not synced_later:
            os.fsync(out.fileno())


class Onward:
    """Takes what follows in the body of a request that was allowed to append: the same without another look."""

    def __init__(self, file: UploadFile) -> None:
        self.path, self.size = path_of(file), file.size

    def take(self, offset: int, chunks: Sequence[bytes]) -> bool:
        """Append bytes that begin at `offset`; False where `append` has to say what is wrong with them."""
        try:
            if _size(self.path) != offset or offset + sum(map(len, chunks)) > self.size:
                return False
            with locked(self.path, patience=0) as out:
                if os.fstat(out.fileno()).st_size != offset:
                    return False
                disk.require_room()
                try:
                    _write(self.path, out, offset, chunks, self.size)
                except OSError:
                    os.ftruncate(out.fileno(), offset)
                    raise
        except (HubError, OSError):
            return False
        return True

    def close(self) -> None:
        """Nothing is held between two pieces."""


def _write(path: Path, out: BinaryIO, at: int, chunks: Sequence[bytes], size: int) -> None:
    if size > SMALL:
        digests.write(path, out, at, chunks)
    else:
        out.writelines(chunks)
        out.flush()


def digest(file: UploadFile) -> str:
    """The SHA-256 of what has come: what was not hashed on its way is read. FileNotFoundError where nothing is here."""
    path = path_of(file)
    with path.open("rb") as source, locked(path) as held:
        known = digests.of(path, held) if file.size > SMALL else digests.RunningDigest()
        return known.finish(source)


def share(old: UploadFile, new: UploadFile) -> int:
    """Give a new upload the bytes that an earlier one with the same promise has; how many. The earlier one keeps them.

    A whole file is never written again, so it gets a second name; of a part, a copy is made where that takes a moment.
    """
    source, target = path_of(old), path_of(new)
    here = _size(source)
    if not here or (here < old.size and here > COPIED_AT_MOST):
        return 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if here == old.size:
            os.link(source, target)
        else:
            _copy_start(source, target, here)
    except OSError:  # Gone in between, another disk, or a full one: the client sends them.
        discard(new)
    return _size(target)


def _copy_start(source: Path, target: Path, length: int) -> None:
    """Copy the first `length` bytes, which do not change while more are appended."""
    with open(source, "rb") as read, open(target, "xb") as write:
        while length and (chunk := read.read(min(CHUNK, length))):
            write.write(chunk)
            length -= len(chunk)


def discard(file: UploadFile) -> None:
    """Forget the bytes of one file."""
    path_of(file).unlink(missing_ok=True)
    digests.forget(path_of(file))


def remove_bytes(upload: Upload) -> None:
    """Free the disk of all files; the lock that is held stays."""
    for row in upload.files.all():
        discard(row)


def remove(upload: Upload) -> None:
    """Forget the bytes of all files."""
    shutil.rmtree(folder(upload), ignore_errors=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_still(stream: BinaryIO, path: Path) -> bool:
    """True if `path` is the file that was opened, not another one or gone since."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def strays(before: datetime) -> list[Path]:
    """Folders on this machine of no known upload or chunk store that nobody touched since."""
    root = Path(settings.UPLOAD_FOLDER)
    paths = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    old = [path for path in paths if _touched(path) < before.timestamp()]
    rows = (Upload, ChunkStore) if old else ()
    known = {str(pk) for model in rows for pk in model.objects.values_list("pk", flat=True)}
    return [path for path in old if path.name not in known]


def remove_strays(before: datetime, *, dry_run: bool = False) -> int:
    """Remove the `strays`; how many there are, or with `dry_run` would be."""
    found = strays(before)
    for path in found if not dry_run else ():
        shutil.rmtree(path, ignore_errors=True)
    return len(found)


def sweep() -> None:
    """Remove this machine's strays, once a day. The upkeep that forgets uploads may run on other machines only."""
    if settings.KEEP_UPLOADS_DAYS and sweeps.is_time(Path(settings.UPLOAD_FOLDER)):
        remove_strays(timezone.now() - timedelta(days=settings.KEEP_UPLOADS_DAYS))


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # Removed in between.
        return math.inf
