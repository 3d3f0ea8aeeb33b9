"""One attempt at one job, as the code that runs it sees it: where to report progress, and when to stop.

Progress goes through Redis to watchers several times a second, and to the database once a second. Everything the
attempt writes is fenced. `progress` raises as soon as the attempt is over, so a method that reports often can be
stopped quickly.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from django.db import DatabaseError, connection

from hub.models import Job, State
from hub.progress import publish_progress
from hub.services.jobs import lease
from hub.services.jobs.lease import LostLease
from workers.patience import P, R, outlast
from workers.telling import Telling

SECONDS_A_LIVE_EVENT = 0.2
SECONDS_A_WRITE = 1.0

log = logging.getLogger(__name__)


class Stopping(Exception):
    """This worker was asked to stop; the job goes back to the queue."""


class Attempt:
    """The heartbeat sets `over` when the lease is lost, and `stopping` when the worker is to stop.

    Every text it writes is made fit for the job's watchers by `telling`, which looks again who is private once the
    result is saved.
    """

    def __init__(self, job: Job, stopping: threading.Event | None = None) -> None:
        self.job = job
        self.over = threading.Event()
        self.stopping = stopping or threading.Event()
        self._telling: Telling | None = None
        self._last_event = self._last_write = 0.0

    @property
    def telling(self) -> Telling:
        """What makes texts fit for others than the job's owner and the machine's administrators."""
        if self._telling is None:
            self._telling = Telling(self.job)
        return self._telling

    @property
    def fence(self) -> dict[str, int]:
        """The job's id and the attempt's number, which every write of this attempt names."""
        return {"job_id": self.job.pk, "attempt": self.job.attempt}

    def check(self) -> None:
        """Raise LostLease or Stopping if the attempt should not go on."""
        if self.over.is_set():
            raise LostLease(f"job {self.job.pk}, attempt {self.job.attempt}")
        if self.stopping.is_set():
            raise Stopping

    def progress(self, fraction: float, message: str = "", **figures: float) -> None:
        """The callback that methods get: fraction done, a message for people, figures such as a loss."""
        self.check()
        now = time.monotonic()
        if now - self._last_event >= SECONDS_A_LIVE_EVENT:
            self._last_event = now
            said = self.telling.text(message)
            data = {"fraction": fraction, "message": said, "figures": figures, "attempt": self.job.attempt}
            publish_progress(self.job.pk, "progress", **data)
        if now - self._last_write >= SECONDS_A_WRITE:
            self._last_write = now
            said = self.telling.text(message)
            try:
                lease.report_progress(**self.fence, fraction=fraction, message=said, figures=figures)
            except DatabaseError as error:
                if not connection.in_atomic_block:
                    connection.close()
                # A busy database costs watchers one update; it must not cost the job.
                log.warning("job %s: progress not written: %s", self.job.pk, error)

    def say(self, message: str) -> None:
        """Add a line to the job's log, which is kept."""
        self.check()
        self.write(lease.add_log, **self.fence, text=self.telling.text(message))

    def advance(self, state: State) -> None:
        """Move to the next state."""
        self.check()
        self.write(lease.advance, **self.fence, state=state)
        if state == State.SAVING:
            self._telling = None

    def write(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that writes behind this attempt's fence, or reads or stores bytes; its answer.

        Faults of the database and of the store are outlasted, until the attempt is over or the worker stops.
        """
        return outlast(_Ends(self), partial(function, *args, **kwargs), told=self._tell_of_wait)

    def _tell_of_wait(self, fault: str) -> None:
        with contextlib.suppress(DatabaseError, LostLease):
            lease.add_log(**self.fence, text=f"{fault}. Waiting for it.")


class _Ends:
    """Set when the attempt is over or its worker stops."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def is_set(self) -> bool:
        return self._attempt.over.is_set() or self._attempt.stopping.is_set()

    def wait(self, timeout: float) -> bool:
        return self._attempt.stopping.wait(timeout) or self._attempt.over.is_set()
