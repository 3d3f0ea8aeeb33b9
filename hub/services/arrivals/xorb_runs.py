"""Full xorbs that come one after the other are written one behind the other: mostly they are one large file.

A client cuts a large file into full xorbs and a last one. Where the shard says that a file begins with just the xorbs
of a run, the SHA-256 is known that far; the rest is written behind them, and the run becomes the blob: little is read,
hashed and written twice. Whatever else a shard says, its files are copied out of the xorbs. What a run holds is known
to the process that writes it; after its death the xorbs are there, and copies are made.
"""

import contextlib
import hashlib
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from hub.storage import CHUNK

MOST = 64  # stores whose runs are known
ENDING = ".run"

Place = tuple[bytes, int, int]
"""(xorb, where it begins, its bytes) in a run or a file."""


class Run:
    """A file of xorbs: `size` bytes, with their SHA-256. `left` are those of its `xorbs` that are nowhere else.

    `beside` are full xorbs that came while another one did: they are next.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{uuid.uuid4().hex}{ENDING}"
        self.size, self.sha256 = 0, hashlib.sha256()
        self.xorbs: list[Place] = []
        self.left: set[bytes] = set()
        self.beside: list[Turn] = []
        self.ended = False
        self._writer = threading.Lock()

    @contextlib.contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """The file, at the run's end. What was written and not `add`ed is gone afterwards."""
        try:
            with self.path.open("r+b", buffering=CHUNK) as file:
                file.seek(self.size)
                yield file
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.truncate(self.path, self.size)

    def add(self, xorb: bytes, size: int, sha256: "hashlib._Hash") -> None:
        """`size` bytes that were written are this xorb, and `sha256` has seen them behind the rest."""
        self.xorbs.append((xorb, self.size, size))
        self.left.add(xorb)
        self.size, self.sha256 = self.size + size, sha256

    def complete(self, rest: Iterable[bytes | memoryview], sha256: str) -> bool:
        """Write the rest of a file behind the run and sync it; whether it is the file of this digest.

        Then the run is at its end, and its file is never written to again; else the rest is gone.
        """
        found = self.sha256.copy()
        with self.writing() as file:
            for block in rest:
                file.write(block)
                found.update(block)
            if found.hexdigest() != sha256:
                return False
            file.flush()
            os.fsync(file.fileno())
            self.ended, self.size = True, file.tell()
        return True

    def take(self) -> bool:
        """Hold the run; False where another request does, or nothing may be written to it."""
        return self._writer.acquire(blocking=False) and (self._may_be_written() or self.release())

    def is_held(self) -> bool:
        """Whether a request holds the run."""
        return self._writer.locked()

    def release(self) -> bool:
        """Hold it no more; False."""
        self._writer.release()
        return False

    def _may_be_written(self) -> bool:
        # Once a xorb has another place, what follows belongs to another file.
        return not self.ended and len(self.left) == len(self.xorbs) and self.path.exists()


_known: OrderedDict[Path, list[Run]] = OrderedDict()
_lock = threading.Lock()


class Turn:
    """A full xorb's turn: it goes into `run` where that is not None, else beside it until its turn comes."""

    def __init__(self, xorb: bytes) -> None:
        self.xorb, self.run, self.is_kept = xorb, None, False


@contextlib.contextmanager
def turn(folder: Path, xorb: bytes, append: Callable[[Run, bytes], None]) -> Iterator[Turn]:
    """The turn of a full xorb that begins to come. Its bytes go beside the run while an earlier one still comes.

    Those beside the run that have come whole are taken in first, in their order: `append(run, xorb)` does it.
    """
    mine, (run, held) = Turn(xorb), _taken(folder)
    if held:
        try:
            while run.beside and run.beside[0].is_kept:
                append(run, run.beside.pop(0).xorb)
            mine.run = None if run.beside else run
        finally:
            if mine.run is None:
                run.release()
    if mine.run is None:
        run.beside.append(mine)
    try:
        yield mine
    finally:
        if mine.run is not None:
            run.release()
        elif not mine.is_kept and mine in run.beside:
            run.beside.remove(mine)


def _taken(folder: Path) -> tuple[Run, bool]:
    """The store's run, and whether it is held now; another one where nothing may be written to the last."""
    with _lock:
        runs = _known.setdefault(folder, [])
        _known.move_to_end(folder)
        while len(_known) > MOST:
            _known.popitem(last=False)
        if runs and runs[-1].take():
            return runs[-1], True
        if runs and runs[-1].is_held():
            return runs[-1], False
        run = Run(folder)
        run.path.touch()
        runs[:] = [old for old in runs if old.left] + [run]
        return run, run.take()


def completed(
    folder: Path, places: Callable[[], Iterator[Place]], rest: Callable[[int], Iterator[bytes]], sha256: str
) -> Path | None:
    """The synced file of this digest where a run of the store is its begin: `rest(at)` are its bytes from there.

    `places` are the file's xorbs that it has from their first chunk on, in order.
    """
    for run in list(_known.get(folder, ())):
        if not run.xorbs or not run.take():
            continue
        try:
            found = places()
            if all(next(found, None) == place for place in run.xorbs) and run.complete(rest(run.size), sha256):
                return run.path
        finally:
            run.release()
    return None


def leave(folder: Path, xorb: bytes) -> int:
    """The xorb has another place; the bytes that this frees: a run's file goes with its last xorb."""
    for run in list(_known.get(folder, ())):
        if xorb in run.left:
            run.left.discard(xorb)
            if run.left:
                return 0
            run.path.unlink(missing_ok=True)
            return sum(size for _, _, size in run.xorbs)
    return 0
