"""A gate before costly work: a few at once, a few more wait a moment, and the next are told to come back.

Pages are served by a bounded number of threads. Without a gate, as many slow requests as there are threads would
freeze the site; with one, they hold no more than `at_once` + `waiting` of them. A gate counts within one process.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hub.errors import Busy


class Gate:
    """Lets `at_once` through and `waiting` more wait up to `patience` seconds; raises Busy for the rest."""

    def __init__(self, what: str, *, at_once: int, waiting: int, patience: float) -> None:
        self.what, self.patience = what, patience
        self._places = threading.BoundedSemaphore(at_once)
        self._queue = threading.BoundedSemaphore(at_once + waiting)

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Hold a place for the time of the block."""
        if not self._queue.acquire(blocking=False):
            raise self._busy()
        try:
            if not self._places.acquire(timeout=self.patience):
                raise self._busy()
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._queue.release()

    def _busy(self) -> Busy:
        return Busy(
            f"This hub is busy with {self.what}. Nothing was lost or begun; try again in {self.patience:.0f} seconds.",
            seconds=self.patience,
        )
