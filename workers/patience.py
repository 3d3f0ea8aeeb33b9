"""A worker's writes outlast the database: away, it is waited for; a fault of one moment is tried again.

An hour of computing is not thrown away because the database restarted, or because somebody deleted what the write
refers to, or made the same, at that moment: the next try sees it, and goes on or says why it can't. Every write is
fenced by the attempt, so a second try after an unheard success changes nothing. While the database is away no lease
can be renewed, but no reaper can take the job either.
"""

import logging
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.db import DatabaseError, close_old_connections, connection

from hub import faults
from hub.errors import is_gone, is_taken

TRIES = 5
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0

P, R = ParamSpec("P"), TypeVar("R")
log = logging.getLogger(__name__)


def patiently(stopping: threading.Event, write: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `write`. While the database is away wait for it, and where it answers try five times in all.

    Raises the database's error after that, or at once when this worker stops; and all else that `write` raises.
    """
    if not connection.in_atomic_block:
        close_old_connections()
    for tries in range(1, TRIES + 1):
        try:
            return write(*args, **kwargs)
        except Exception as error:
            last = tries == TRIES or stopping.is_set() or connection.in_atomic_block
            if last or not (faults.is_databases(error) or is_gone(error) or is_taken(error)):
                raise
            log.warning("the database failed, try %s: %s", tries, error)
        _wait_for_database(stopping)
    raise AssertionError("unreachable")


def _wait_for_database(stopping: threading.Event) -> None:
    wait = FIRST_WAIT
    while not stopping.wait(wait) and not _answers():
        wait = min(2 * wait, LONGEST_WAIT)


def _answers() -> bool:
    """True if the database takes a new connection of this thread."""
    try:
        connection.close()
        connection.ensure_connection()
    except DatabaseError:
        return False
    return True
