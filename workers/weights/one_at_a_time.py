"""One worker of a machine does a thing, the others wait for it and find it done. A dead worker's lock is free.

The lock is `flock` on a file beside what is made, so it also holds between machines that share the folder by NFS.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock-"
SECONDS_A_TRY, SECONDS_A_WORD = 0.2, 30.0


@contextmanager
def alone(folder: Path, name: str, say: Callable[[str], None] = lambda message: None) -> Iterator[None]:
    """Hold the lock `name` of the folder; `say` is told now and then that another worker is at it, and may raise."""
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{LOCK}{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    handle = os.open(place, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        next_word = time.monotonic()
        while not _taken(handle):
            if time.monotonic() >= next_word:
                say(f"Waiting for another worker, which fetches {name}")
                next_word = time.monotonic() + SECONDS_A_WORD
            time.sleep(SECONDS_A_TRY)
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
