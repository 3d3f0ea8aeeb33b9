"""Whether this worker still hears the broker. One that is idle and doesn't, says so, and in the end starts again.

The main thread listens to the broker while it is idle, and ticks once a second. Two signs tell that it is stuck,
though the broker answers and no work keeps it: it has not ticked for a while, or an id waits in one of its queues that
any idle worker takes at once. After HUB_WORKER_STUCK_SECONDS the workers' page shows it; after twice that time the
process replaces itself by a new one with the same command, under the same process id, so that no supervisor is needed.
"""

import logging
import os
import sys
import time

from django.conf import settings

from hub import broker

SECONDS_A_QUESTION = 5.0
AWAY = "The broker does not answer. The worker looks for jobs in the database."

log = logging.getLogger(__name__)


class Watch:
    """`tick` is called by the main thread, `look` by the heartbeat. `trouble` is the sentence for the workers' page."""

    def __init__(self, worker) -> None:
        self.worker = worker
        self.trouble = ""
        self._ticked = self._asked = 0.0
        self._quiet_since: float | None = None
        self._waiting: dict[int, float] = {}

    def tick(self) -> None:
        """The main thread listens."""
        self._ticked = time.monotonic()

    def look(self) -> bool:
        """Ask the broker now and then, and set `trouble`. True where this process must be replaced."""
        now = time.monotonic()
        if self.worker.is_busy():
            self._forget(now)
            return False
        if now - self._asked < SECONDS_A_QUESTION:
            return False
        self._asked = now
        # What waits there can't be blamed on a worker that can't reach it.
        there = broker.waiting({*self.worker.queues, broker.direct_queue(self.worker.name)})
        if there is None or self._quiet_since is None:
            self._forget(now)
            self._say("" if there is not None else AWAY)
            return False
        self._waiting = {pk: self._waiting.get(pk, now) for pk in there}
        silent = now - max(self._ticked, self._quiet_since)
        waited = now - min(self._waiting.values(), default=now)
        patience = settings.WORKER_STUCK_SECONDS
        if not patience or max(silent, waited) < patience:
            self._say("")
            return False
        sign = f"has not listened for {silent:.0f} s" if silent >= waited else f"left an id waiting for {waited:.0f} s"
        self._say(f"Stuck: it is idle, the broker answers, and it {sign}. It starts again by itself.", log.error)
        return max(silent, waited) >= 2 * patience

    def replace(self) -> None:
        """Start this process again: same command, same process id, nothing else kept. Doesn't return."""
        log.error("worker %s starts again: %s", self.worker.name, self.trouble)
        logging.shutdown()
        try:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        finally:
            os._exit(1)

    def _forget(self, now: float) -> None:
        """Begin to count anew: it works, or the broker is away."""
        self._quiet_since = now
        self._waiting = {}

    def _say(self, trouble: str, how=log.warning) -> None:
        if trouble and not self.trouble:
            how("worker %s: %s", self.worker.name, trouble)
        elif self.trouble and not trouble:
            log.info("worker %s hears the broker", self.worker.name)
        self.trouble = trouble
