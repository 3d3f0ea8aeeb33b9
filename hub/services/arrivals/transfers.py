"""LFS files on their way in, whole or in parts: one file in the chunk store, written where each part begins.

Parts may come in any order and more than once. Where they come in order, as the stock client sends them, their SHA-256
is computed on the way. The whole file is proven, synced and given to the blob store; until then it counts for its user
with all the bytes it was announced with.
"""

import contextlib
import fcntl
import hashlib
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from hub import disk
from hub.errors import Busy, Conflict, Invalid
from hub.models import Arrival, ChunkStore
from hub.services.arrivals import receiving, stores
from hub.services.content.manifest import Entry
from hub.storage import CHUNK

PATIENCE = 3.0
MOST_DIGESTS = 64


def write(*, store: ChunkStore, entry: Entry, at: int, most: int, stream: BinaryIO, starts: bool) -> int:
    """Write what `stream` holds, at most `most` bytes, from `at` on; how many that were.

    `starts` says that this is the begin of a part, which may also begin the file; what continues a part needs it there.
    Errors: Invalid `arrival.size`, Conflict `arrival.transfer_gone`, QuotaExceeded, DiskFull.
    """
    path = _path(store, entry)
    if starts:
        _begin(store, entry, path)
    try:
        with _held(path) as file:
            digest = _digest_of(path, file)

            def keep(begin: int, data: bytes) -> None:
                disk.require_room()
                os.pwrite(file.fileno(), data, begin)
                digest.add(begin, data)

            return _read(stream, at, most, keep)
    except _Gone:
        if not _arrived(store, entry):
            raise
        # The same file twice in one commit is sent twice at once; the other one was faster.
        return _read(stream, at, most, lambda begin, data: None)


def _read(stream: BinaryIO, at: int, most: int, keep: Callable[[int, bytes], None]) -> int:
    came = 0
    while data := stream.read(min(CHUNK, most - came + 1)):
        if came + len(data) > most:
            raise Invalid(
                f"{most:,} bytes were to come, and more were sent. Send the file again.",
                code="arrival.size",
                declared=most,
            )
        keep(at + came, data)
        came += len(data)
    return came


def complete(*, store: ChunkStore, entry: Entry) -> Arrival:
    """Prove that the file is what was announced, and take it in. Invalid `arrival.size` or `arrival.digest` if not."""
    path = _path(store, entry)
    try:
        return _complete(store, entry, path)
    except _Gone:
        if done := _arrived(store, entry):
            return done
        raise


def _complete(store: ChunkStore, entry: Entry, path: Path) -> Arrival:
    with _held(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            found = _digest_of(path, file).finish(file) if size == entry.size else ""
            receiving.prove(entry, Entry(found, size))
        except Invalid:
            _forget(store, entry, path)
            raise
        os.fsync(file.fileno())
        try:
            # Its bytes count once: as a transfer until here, as an arrival from here on.
            stores.discharge(store, entry.size)
            arrival = receiving.adopt(
                actor=store.user, repository=store.repository, path=path, entry=entry, proven=True
            )
        except BaseException:
            stores.discharge(store, -entry.size)
            raise
        _remove(path)
    return arrival


def _begin(store: ChunkStore, entry: Entry, path: Path) -> None:
    """Make the file if there is none, with its bytes counted."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_nlink == 1:
            stores.touch(store)
            return
        _remove(path)  # The blob store has it; its completion was cut before this.
    stores.expect(store, entry.size)
    path.parent.mkdir(parents=True, exist_ok=True)
    stores.charge(store, entry.size)
    try:
        path.open("xb").close()
    except FileExistsError:
        stores.discharge(store, entry.size)
    except BaseException:
        stores.discharge(store, entry.size)
        raise


def _forget(store: ChunkStore, entry: Entry, path: Path) -> None:
    _remove(path)
    stores.discharge(store, entry.size)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)


def _arrived(store: ChunkStore, entry: Entry) -> Arrival | None:
    return Arrival.objects.filter(user=store.user, repository=store.repository, blob=entry.sha256).first()


def _path(store: ChunkStore, entry: Entry) -> Path:
    return stores.folder(store) / "lfs" / f"{entry.sha256}-{entry.size}"


@contextlib.contextmanager
def _held(path: Path) -> Iterator[BinaryIO]:
    """The file, held against all others. Never one that the blob store has got: that one is not written to again."""
    try:
        file = path.open("r+b", buffering=0)
    except FileNotFoundError:
        raise _Gone() from None
    with file:
        deadline = time.monotonic() + PATIENCE
        while not _locked(file):
            if time.monotonic() > deadline:
                raise Busy("Another request is writing this file.", seconds=2)
            time.sleep(0.02)
        if not _is_still(file, path):
            raise _Gone()
        yield file


def _locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(file: BinaryIO, path: Path) -> bool:
    found = os.fstat(file.fileno())
    try:
        return found.st_nlink == 1 and os.path.samestat(found, path.stat())
    except FileNotFoundError:
        return False


class _Gone(Conflict):
    """The file was here, and another request has completed or refused it."""

    code = "arrival.transfer_gone"

    def __init__(self) -> None:
        super().__init__(
            "Nothing of this file is here; another request has completed or refused it. Send it from its begin."
        )


class _Digest:
    """The SHA-256 of a file's first `upto` bytes, as far as they came in order and through this process.

    Whoever holds the file uses it. Another process may write to it in between: the name of the last writer stands
    beside the file, and nothing is known where that is another one.
    """

    def __init__(self) -> None:
        self.sha256, self.upto = hashlib.sha256(), 0

    def add(self, at: int, data: bytes) -> None:
        """Take note of bytes that were written."""
        if at < self.upto:  # Written anew.
            self.__init__()
        if at == self.upto:
            self.sha256.update(data)
            self.upto += len(data)

    def finish(self, file: BinaryIO) -> str:
        """The digest of the whole file, of which the rest is read."""
        file.seek(self.upto)
        while data := file.read(CHUNK):
            self.add(self.upto, data)
        return self.sha256.hexdigest()


_digests: OrderedDict[tuple[str, int], _Digest] = OrderedDict()
_digests_lock = threading.Lock()
_MYSELF = uuid.uuid4().hex


def _digest_of(path: Path, file: BinaryIO) -> _Digest:
    """What is known of a file that is held; where its digest is not kept any more, its bytes are read in the end."""
    key, me, beside = (str(path), os.fstat(file.fileno()).st_ino), f"{_MYSELF} {os.getpid()}", _beside(path)
    try:
        mine = beside.read_text() == me
    except FileNotFoundError:
        mine = False
    with _digests_lock:
        found = _digests.pop(key, None) if mine else None
        digest = _digests[key] = found or _Digest()
        if len(_digests) > MOST_DIGESTS:
            _digests.popitem(last=False)
    if not mine:
        beside.write_text(me)
    return digest


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.writer")
