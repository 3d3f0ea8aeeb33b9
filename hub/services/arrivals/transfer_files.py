"""LFS files on their way in to a folder: one file in the chunk store, written where each part begins.

Parts may come in any order and more than once. Where they come in order, as the stock client sends them, their SHA-256
is computed on the way (`digests`). The whole file is proven, synced and given to the blob store; until then it counts
for its user with all the bytes it was announced with.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from hub import disk
from hub.errors import Busy, HubError, Invalid
from hub.models import Arrival, ChunkStore
from hub.services.arrivals import digests, receiving, stores
from hub.services.arrivals.bounded import Gone, arrived, read_all
from hub.services.content.manifest import Entry

PATIENCE = 3.0


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
            return read_all(stream, at, most, lambda begin, data: _keep(path, file, begin, [data]))
    except Gone:
        if not arrived(store, entry):
            raise
        # The same file twice in one commit is sent twice at once; the other one was faster.
        return read_all(stream, at, most, lambda begin, data: None)


def receive(
    *,
    store: ChunkStore,
    entry: Entry,
    begin: int,
    at: int,
    most: int,
    stream: BinaryIO,
    starts: bool,
    goes_on: bool = False,
    onward: "Onward | None" = None,
) -> "tuple[int, Onward | None]":
    """See `transfers.receive`."""
    came = write(store=store, entry=entry, at=begin + at, most=most - at, stream=stream, starts=starts)
    return came, Onward(store, entry, begin, most) if goes_on else None


class Onward:
    """Takes what follows in a body whose begin was written: the same without another look at the sender.

    `begin` is where the body lies in the file, and `most` the bytes that it may have.
    """

    def __init__(self, store: ChunkStore, entry: Entry, begin: int, most: int) -> None:
        self.path, self.begin, self.most = _path(store, entry), begin, most

    def take(self, offset: int, chunks: Sequence[bytes]) -> bool:
        """Write bytes from `offset` of the body on; False where `write` has to say what is wrong with them."""
        if offset + sum(map(len, chunks)) > self.most:
            return False
        try:
            with _held(self.path, patience=0) as file:
                _keep(self.path, file, self.begin + offset, chunks)
        except (HubError, OSError):
            return False
        return True

    def close(self) -> None:
        """Nothing is held between two pieces."""


def _keep(path: Path, file: BinaryIO, at: int, chunks: Sequence[bytes]) -> None:
    disk.require_room()
    digests.write(path, file, at, chunks)


def complete(*, store: ChunkStore, entry: Entry) -> Arrival:
    """Prove that the file is what was announced, and take it in. Invalid `arrival.size` or `arrival.digest` if not."""
    path = _path(store, entry)
    try:
        return _complete(store, entry, path)
    except Gone:
        if done := arrived(store, entry):
            return done
        raise


def _complete(store: ChunkStore, entry: Entry, path: Path) -> Arrival:
    with _held(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            found = digests.of(path, file).finish(file) if size == entry.size else ""
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
    digests.forget(path)


def _path(store: ChunkStore, entry: Entry) -> Path:
    return stores.folder(store) / "lfs" / f"{entry.sha256}-{entry.size}"


@contextlib.contextmanager
def _held(path: Path, *, patience: float = PATIENCE) -> Iterator[BinaryIO]:
    """The file, held against all others. Never one that the blob store has got: that one is not written to again."""
    try:
        file = path.open("r+b", buffering=0)
    except FileNotFoundError:
        raise Gone() from None
    with file:
        deadline = time.monotonic() + patience
        while not _locked(file):
            if time.monotonic() > deadline:
                raise Busy("Another request is writing this file.", seconds=2)
            time.sleep(0.02)
        if not _is_still(file, path):
            raise Gone()
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
