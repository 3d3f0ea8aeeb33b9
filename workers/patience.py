"""A worker outlasts the database and the store: away, they are waited for; a fault of one moment is tried again.

An hour of computing is not thrown away because the database restarted or the store was cut off, or because somebody
deleted what the write refers to, or made the same, at that moment: the next try sees it, and goes on or says why it
can't. Every write is fenced by the attempt, and bytes are stored under their digest, so a second try after an unheard
success changes nothing. While the database is away no lease can be renewed, but no reaper can take the job either;
while the store is away the heartbeat keeps the lease.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from django.db import DatabaseError, close_old_connections, connection

from hub import faults
from hub.errors import is_gone, is_taken
from hub.storage import blobs

TRIES = 5
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0

P, R = ParamSpec("P"), TypeVar("R")
log = logging.getLogger(__name__)


class Ends(Protocol):
    """What ends a wait, as threading.Event does."""

    def is_set(self) -> bool:
        """True where nobody waits any more."""

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds at most; True where it is set."""


def patiently(ends: Ends, write: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `write` and outlast what `outlast` does."""
    return outlast(ends, partial(write, *args, **kwargs))


def outlast(ends: Ends, call: Callable[[], R], *, told: Callable[[str], None] = lambda fault: None) -> R:
    """Call `call`. While the database or the store is away wait for it, and where it answers try five times in all.

    Raises the fault after that, or at once when `ends` is set; and all else that `call` raises. `told` hears, once,
    that the store is waited for.
    """
    if not connection.in_atomic_block:
        close_old_connections()
    for tries in range(1, TRIES + 1):
        try:
            return call()
        except Exception as error:
            of_store = faults.is_stores(error)
            passes = of_store or faults.is_databases(error) or is_gone(error) or is_taken(error)
            if tries == TRIES or ends.is_set() or connection.in_atomic_block or not passes:
                raise
            log.warning("the %s failed, try %s: %s", "store" if of_store else "database", tries, error)
            if of_store and tries == 1:
                told(faults.passing(error))
        _wait(ends, blobs.answers if of_store else _answers)
    raise AssertionError("unreachable")


def _wait(ends: Ends, answers: Callable[[], bool]) -> None:
    wait = FIRST_WAIT
    while not ends.wait(wait) and not answers():
        wait = min(2 * wait, LONGEST_WAIT)


def _answers() -> bool:
    """True if the database takes a new connection of this thread."""
    try:
        connection.close()
        connection.ensure_connection()
    except DatabaseError:
        return False
    return True
