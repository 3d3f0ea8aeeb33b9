"""Uploads in a folder: one file per promised file, appended to until it is whole, under locks of this machine.

What lies on the disk is the truth; the rows' `received` follows it. A file that has reached its promised size is never
written again, only removed, so that the blob store may take it by a second link instead of a copy.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from django.conf import settings

from composition.formats.sources import LocalFile
from hub import disk
from hub.errors import HubError
from hub.models import Upload, UploadFile
from hub.services.arrivals import digests
from hub.services.content.staging.refusals import busy
from hub.storage import CHUNK, blobs

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
                raise busy(received=_size(path)) from None
            time.sleep(0.05)
        except BaseException:
            stream.close()
            raise
        stream.close()
    try:
        yield stream
    finally:
        stream.close()


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


class Incoming:
    """The bytes that a request brings of a file, which is held."""

    def __init__(self, file: UploadFile, out: BinaryIO) -> None:
        self.file, self.out = file, out

    @property
    def received(self) -> int:
        """Bytes that have come."""
        return received(self.file)

    def append(self, stream: BinaryIO, *, goes_on: bool = False) -> bool:
        """Take what the file may still have; see `append`."""
        return append(self.file, self.out, stream, goes_on=goes_on)

    def onward(self) -> "Onward":
        """Who takes what follows in the body."""
        return Onward(self.file)

    def head(self, size: int) -> bytes:
        """The first bytes of the file."""
        with open(path_of(self.file), "rb") as stream:
            return stream.read(size)

    def settle(self) -> bool:
        """Have the row say what is here; False where the upload is gone."""
        self.file.received = self.received
        return bool(UploadFile.objects.filter(pk=self.file.pk).update(received=self.file.received))

    def discard(self) -> None:
        """Forget all that has come of the file."""
        discard(self.file)


@contextlib.contextmanager
def receiving(file: UploadFile, onward: "Onward | None" = None) -> Iterator[Incoming]:
    """Who takes what a request brings. Conflict `upload.busy` where another request brings something."""
    with locked(path_of(file)) as out:
        yield Incoming(file, out)


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


def refresh(rows: Collection[UploadFile]) -> None:
    """Have `received` say what the disk has."""
    stale = []
    for row in rows:
        on_disk = received(row)
        if row.received != on_disk:
            row.received = on_disk
            stale.append(row)
    UploadFile.objects.bulk_update(stale, ["received"])


def sources(rows: Collection[UploadFile]) -> dict[str, LocalFile]:
    """Path → the file that has come, which is not old from now on. FileNotFoundError where its folder is gone."""
    for row in rows:
        path_of(row).touch()
    return {row.path: LocalFile(path_of(row)) for row in rows}


def keep(source: LocalFile, known: tuple[str, int] | None) -> None:
    """Make a blob of a whole file, by a second link."""
    blobs.add(source.path, link=True, known=known)


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
