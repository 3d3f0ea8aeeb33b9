"""The SHA-256 of files that are still coming: computed as their bytes come, so that the end needs no second look.

Known is what came in order and through this process. Another process may write to a file in between: the name of the
last writer stands beside the file, and nothing is known where that is another one. Then its bytes are read in the end.
"""

import hashlib
import os
import threading
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from hub.services.arrivals import write_back
from hub.storage import CHUNK

MOST = 64
MOST_VECTORS = 1024  # IOV_MAX of Linux, writev(2)


class RunningDigest:
    """The SHA-256 of a file's first `upto` bytes. Whoever holds the file uses it."""

    def __init__(self) -> None:
        self.sha256, self.upto = hashlib.sha256(), 0

    def add(self, at: int, chunks: Sequence[bytes]) -> None:
        """Take note of bytes that were written from `at` on."""
        if at == self.upto:
            for chunk in chunks:
                self.sha256.update(chunk)
                self.upto += len(chunk)

    def finish(self, file: BinaryIO) -> str:
        """The digest of the whole file, of which the rest is read."""
        file.seek(self.upto)
        while data := file.read(CHUNK):
            self.add(self.upto, [data])
        return self.sha256.hexdigest()


_known: OrderedDict[tuple[str, int], RunningDigest] = OrderedDict()
_lock = threading.Lock()
_MYSELF = uuid.uuid4().hex


def write(path: Path, file: BinaryIO, at: int, chunks: Sequence[bytes]) -> None:
    """Write the chunks, one after the other, into a file that is held, from `at` on, and note what they are."""
    digest = of(path, file)
    if at < digest.upto:  # Written anew, or a part of it where the disk takes no more.
        digest.__init__()
    write_all(file.fileno(), at, chunks)
    digest.add(at, chunks)


def of(path: Path, file: BinaryIO) -> RunningDigest:
    """What is known of a file that is held; it is this process' from now on."""
    key, me, beside = (str(path), os.fstat(file.fileno()).st_ino), f"{_MYSELF} {os.getpid()}", _beside(path)
    try:
        mine = beside.read_text() == me
    except FileNotFoundError:
        mine = False
    with _lock:
        found = _known.pop(key, None) if mine else None
        digest = _known[key] = found or RunningDigest()
        if len(_known) > MOST:
            _known.popitem(last=False)
    if not mine:
        beside.write_text(me)
    return digest


def forget(path: Path) -> None:
    """The file is gone, or goes."""
    _beside(path).unlink(missing_ok=True)


def write_all(file: int, at: int, chunks: Sequence[bytes | memoryview]) -> int:
    """Write the chunks, one after the other, from `at` on, and have the disk begin on them; where they end."""
    left, begins = [memoryview(chunk) for chunk in chunks if chunk], at
    while left:
        done = os.pwritev(file, left[:MOST_VECTORS], at)
        at += done
        while left and done >= len(left[0]):
            done -= len(left.pop(0))
        if done:
            left[0] = left[0][done:]
    write_back.begin(file, begins, at)
    return at


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.writer")
