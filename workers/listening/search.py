"""The second way to a job: an idle worker looks in the database for what the broker doesn't bring.

The queue only says that there is work; the claim decides who does it, and needs no broker. So while the broker is away
an idle worker takes queued jobs by itself, after seconds; and with a broker that forgot an id, after half a lease. The
job runs in a thread of its own, since the main thread belongs to Celery, which may be waiting for the broker.
`Worker.turn` keeps it to one job at a time.
"""

import logging
import threading
import time

from django.db import connection

from hub.services.jobs import turns
from workers import devices
from workers.runner import run

SECONDS_A_SEARCH = 3.0

log = logging.getLogger(__name__)


class Search:
    """Looks for jobs when it is asked to, which the heartbeat does once a second."""

    def __init__(self, worker) -> None:
        self.worker = worker
        self._thread: threading.Thread | None = None
        self._next = 0.0

    def look(self) -> None:
        """Where nothing is done and something is left waiting, do it in a thread."""
        if self.worker.is_busy() or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SECONDS_A_SEARCH
        if turns.is_overlooked(self.worker.taker()):
            self._thread = threading.Thread(target=self._run, name="search", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Until what it found is over; at once where it found nothing."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        """Run the job whose turn it is."""
        if not self.worker.turn.acquire(blocking=False):
            return
        try:
            devices.fix_threads()
            job = self.worker.claim()
            if job is not None:
                log.info("job %s was found in the database; no message of it came", job.pk)
                run(job, self.worker)
                self._next = 0.0
        except Exception:
            log.exception("a job that was found in the database")
        finally:
            connection.close()
            self.worker.turn.release()
