"""The site's periodic work in a process of its own: jobs of silent workers are taken back, the outbox is sent, upkeep
runs. Workers do the same beside their jobs; a site whose workers come and go keeps one process that always does.

Any number may run. A lease in the database lets one of them work, and another goes on seconds after it died.
"""

import logging
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection

from hub.services import outbox
from hub.services.jobs import reaper
from hub.services.upkeep import runner
from hub.services.upkeep.leases import BEAT, Lease, lease

# A holder that is silent for so long is followed by another, which asks this often.
SECONDS_OF_LEASE, SECONDS_A_QUESTION = 30.0, 5.0
SECONDS_A_SWEEP, SECONDS_OF_A_SWEEP = 5.0, 60.0
SECONDS_AN_UPKEEP = 60.0
SECONDS_A_LOOK = 0.5

log = logging.getLogger(__name__)


class Duty:
    """A function that runs every so many seconds in a thread, one run at a time: none of them keeps another waiting."""

    def __init__(self, name: str, seconds: float, act: Callable[[], object]) -> None:
        self.name, self.seconds, self.act = name, seconds, act
        self._thread: threading.Thread | None = None
        self._next = 0.0

    def look(self) -> None:
        """Begin a run if its time has come and the last one is over."""
        if time.monotonic() < self._next or (self._thread is not None and self._thread.is_alive()):
            return
        self._next = time.monotonic() + self.seconds
        self._thread = threading.Thread(target=guarded, args=(self.name, self.act), name=self.name, daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for a run that has begun."""
        if self._thread is not None:
            self._thread.join(seconds)


def guarded(name: str, act: Callable[[], object]) -> None:
    """Do it in a thread of its own: what goes wrong is logged, and the thread's connection is given back."""
    try:
        act()
    except DatabaseError as error:
        log.warning("%s could not reach the database: %s", name, error)
    except Exception:
        log.exception("%s", name)
    finally:
        connection.close()


def duties(go_on: Callable[[], bool]) -> list[Duty]:
    """What the holder of the lease does, and how often."""
    return [
        Duty("reaper", settings.JOB_LEASE_SECONDS / 6, lambda: reaper.is_due() and reaper.run_due()),
        Duty("outbox", SECONDS_A_SWEEP, lambda: outbox.is_due() and outbox.drain(seconds=SECONDS_OF_A_SWEEP)),
        Duty("upkeep", SECONDS_AN_UPKEEP, lambda: runner.is_due() and runner.run_due(go_on)),
    ]


def run(go_on: Callable[[], bool], *, seconds: float = SECONDS_OF_LEASE) -> None:
    """Do the periodic work, or stand by while another does, until `go_on` answers False."""
    work = duties(go_on)
    while go_on():
        try:
            with lease(BEAT, seconds=seconds) as held:
                if held is not None:
                    log.info("this process does the periodic work")
                    _serve(held, work, go_on)
        except DatabaseError as error:
            log.warning("beat could not reach the database: %s", error)
            connection.close()
        _pause(SECONDS_A_QUESTION, go_on)
    for duty in work:
        duty.join(SECONDS_A_QUESTION)


def _serve(held: Lease, work: list[Duty], go_on: Callable[[], bool]) -> None:
    """Until the lease is lost or `go_on` answers False."""
    while go_on() and held.renew():
        for duty in work:
            duty.look()
        time.sleep(SECONDS_A_LOOK)


def _pause(seconds: float, go_on: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while go_on() and time.monotonic() < until:
        time.sleep(min(SECONDS_A_LOOK, seconds))
