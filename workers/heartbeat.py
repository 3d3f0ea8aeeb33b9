"""The worker's second thread: keeps the lease, notices cancels, shows the worker on its page, and searches.

It never computes, so it also beats while a method is busy with one long operation. It asks once in a while whether the
reaper's round is due (`hub.services.jobs.reaper`); one worker of all does it, in a thread of its own.

It also sweeps the outbox every few seconds. The task that drains the outbox waits behind the current job, which may
take hours (a worker runs one message at a time). The sweep doesn't wait, and it finds what the broker or a dead drainer
lost. Once a minute it asks whether some upkeep is due (`hub.services.upkeep`), which also has a thread of its own. And
it looks whether the main thread still hears the broker, and for jobs that the broker doesn't bring.
"""

import logging
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from hub.services import outbox
from hub.services.jobs import lease as job_lease
from hub.services.jobs import reaper
from hub.services.jobs.lease import LostLease
from hub.services.upkeep import runner as upkeep
from hub.services.upkeep.beat import guarded
from hub.services.worker_nodes import forget_worker, report_worker
from workers.attempt import Attempt
from workers.weights import stored

BEATS_A_LEASE = 3
REAPS_ASKED_A_LEASE = 6
SECONDS_A_LOOK = 1.0
SECONDS_AN_UPKEEP = 60.0
SECONDS_A_SWEEP = 5.0
# A sweep begins nothing after this time: the next one also finds receivers that are new.
SECONDS_OF_A_SWEEP = 60.0

log = logging.getLogger(__name__)


class Heartbeat(threading.Thread):
    """Beats for `worker` until closed; `held` is the attempt it keeps alive."""

    def __init__(self, worker) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.worker = worker
        self.started_at = timezone.now()
        self.stopping = threading.Event()
        self.closed = threading.Event()
        self.held: Attempt | None = None
        self.watch = self.search = None
        self._sweeper: threading.Thread | None = None
        self._keeper: threading.Thread | None = None
        self._reaper: threading.Thread | None = None
        self._next_beat = self._next_reap = self._next_upkeep = self._next_sweep = 0.0

    def run(self) -> None:
        """Look once a second, beat three times a lease, ask for the reaper's round, sweep every five seconds.

        A beat that failed is tried again at the next look: after an outage of the database leases are renewed first.
        """
        lease = settings.JOB_LEASE_SECONDS
        while not self.closed.is_set():
            if self.watch is not None and not self.stopping.is_set() and self.watch.look() and self._may_replace():
                self.watch.replace()
            try:
                close_old_connections()
                self.look()
                if time.monotonic() >= self._next_beat:
                    self.beat()
                    self._next_beat = time.monotonic() + lease / BEATS_A_LEASE
                if not self.stopping.is_set():
                    self._duties(lease)
            except DatabaseError as error:
                log.warning("heartbeat could not reach the database: %s", error)
                connection.close()
                # When it is back, everyone beats before anyone takes a job from a worker that seems silent.
                self._next_reap = time.monotonic() + lease / 2
            except Exception:
                log.exception("heartbeat")
            waiter = self.closed if self.stopping.is_set() else self.stopping
            waiter.wait(min(SECONDS_A_LOOK, lease / (2 * BEATS_A_LEASE)))
        connection.close()

    def _duties(self, lease: float) -> None:
        if self.search is not None:
            self.search.look()
        if time.monotonic() >= self._next_reap:
            self._next_reap = time.monotonic() + lease / REAPS_ASKED_A_LEASE
            self.reap()
        if time.monotonic() >= self._next_upkeep:
            self._next_upkeep = time.monotonic() + SECONDS_AN_UPKEEP
            self.keep_up()
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + SECONDS_A_SWEEP
            self.sweep()

    def _may_replace(self) -> bool:
        """True where no job has begun in the meantime; none will, as this takes the worker's turn for good."""
        return self.worker.turn.acquire(blocking=False)

    def look(self) -> None:
        """Find out whether the current attempt is still wanted; give it back if the worker stops."""
        held = self.held
        if held is None or held.over.is_set():
            return
        if not job_lease.is_held(**held.fence):
            held.over.set()
        elif self.stopping.is_set():
            try:
                job_lease.release(**held.fence)
                held.over.set()
            except LostLease:
                # It is being saved, which takes only a moment: let it end.
                pass

    def beat(self) -> None:
        """Renew the lease, and report this worker's queues, bases and current job. What its job uses of the cache
        is touched first, which needs no database."""
        self.worker.cache.touch()
        stored.touch()
        held = self.held
        if held is not None and not held.over.is_set():
            try:
                job_lease.renew(**held.fence)
            except LostLease:
                held.over.set()
        report_worker(**self.worker.facts(), current_job=held.job.pk if held else None, started_at=self.started_at)

    def soon(self) -> None:
        """Beat at the next look: there is something new to report."""
        self._next_beat = 0.0

    def reap(self) -> None:
        """Do the reaper's round if it is due, in a separate thread: a slow one must not cost the job its lease."""
        if (self._reaper is None or not self._reaper.is_alive()) and reaper.is_due():
            self._reaper = _thread("reaper", reaper.run_due)
            self._reaper.start()

    def sweep(self) -> None:
        """Send what is due in the outbox, in a separate thread: a slow receiver must not cost the job its lease."""
        if (self._sweeper is None or not self._sweeper.is_alive()) and outbox.is_due():
            self._sweeper = _thread("outbox", lambda: outbox.drain(seconds=SECONDS_OF_A_SWEEP))
            self._sweeper.start()

    def keep_up(self) -> None:
        """Run the upkeep that is due, in a separate thread that ends its step when the worker stops."""
        if (self._keeper is None or not self._keeper.is_alive()) and upkeep.is_due():
            go_on = lambda: not self.stopping.is_set()  # noqa: E731
            self._keeper = _thread("upkeep", lambda: upkeep.run_due(go_on))
            self._keeper.start()

    def stop_work(self) -> None:
        """Set the flag that ends the work. Called in the signal handler, so it does nothing else."""
        self.stopping.set()

    def close(self) -> None:
        """End the thread and take the worker off the page."""
        self.stopping.set()
        self.closed.set()
        if self.is_alive():
            self.join(timeout=10)
        try:
            forget_worker(name=self.worker.name)
        except DatabaseError as error:
            log.warning("worker %s stays on the page for a while: %s", self.worker.name, error)


def _thread(name: str, act: Callable[[], object]) -> threading.Thread:
    """What it does is due again, by another process, where this one ends halfway."""
    return threading.Thread(target=guarded, args=(name, act), name=name, daemon=True)
