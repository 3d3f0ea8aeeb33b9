"""Whether this process can serve: the database, its migrations, the store, the broker.

Looked at by one thread at a time and kept for `SECONDS_KEPT`, so that many who ask cost what one does, and a database
that hangs is waited for once.
"""

import contextlib
import logging
import threading
import time

import redis
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from hub import broker
from hub.storage import blobs

OK, AWAY, BEHIND = "ok", "away", "behind"
# Without these nothing can be served. Without the broker pages, pushes and downloads go on, and jobs wait.
NEEDED = ("database", "migrations", "store")
# Any digest will do: the store must answer whether it has it.
PROBE = "0" * 64
SECONDS_KEPT = 1.0

log = logging.getLogger(__name__)
_migrated = False
_lock = threading.Lock()
_kept: tuple[float, dict[str, str]] = (0.0, {})


def health() -> dict[str, str]:
    """{"database", "migrations", "store", "broker"}, each `ok`, `away` or `behind`; at most `SECONDS_KEPT` old."""
    global _kept
    with _lock:
        until, parts = _kept
        if time.monotonic() >= until:
            parts = _look()
            _kept = (time.monotonic() + SECONDS_KEPT, parts)
    return parts


def forget() -> None:
    """Look anew when it is asked for next."""
    global _kept
    _kept = (0.0, {})


def _look() -> dict[str, str]:
    database = _database()
    migrations = _migrations() if database == OK else AWAY
    return {"database": database, "migrations": migrations, "store": _store(), "broker": _broker()}


def _database() -> str:
    try:
        connection.ensure_connection()
        if not connection.is_usable():
            connection.close()  # A restarted server leaves dead connections behind.
            connection.ensure_connection()
    except DatabaseError as error:
        log.warning("not ready, the database is away: %s", error)
        return AWAY
    return OK


def _migrations() -> str:
    """Looked for until they are applied; they don't go away while a process runs."""
    global _migrated
    if not _migrated:
        executor = MigrationExecutor(connection)
        _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return OK if _migrated else BEHIND


def _store() -> str:
    try:
        blobs.exists(PROBE)
    except Exception as error:  # each storage has errors of its own
        log.warning("not ready, the store is away: %s", error)
        return AWAY
    return OK


def _broker() -> str:
    with contextlib.suppress(redis.RedisError, OSError):
        broker.client().ping()
        return OK
    return AWAY
