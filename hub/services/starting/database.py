"""The database before the start: it is waited for, and one process of all hosts migrates it.

PostgreSQL gives an advisory lock. It is held by an open transaction on a connection of its own, so it also holds
behind a pooler that hands a connection on after each transaction, and it ends with the process. SQLite is on this
machine alone: a locked file beside it does.
"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from hub.services.starting.refusal import CannotStart

Say = Callable[[str], None]
# Any number that no other program on the same database uses for its locks.
LOCK = 0x6164_6170_7465_7268
SECONDS_FOR_DATABASE = 60.0
SECONDS_A_TRY, SECONDS_A_WORD = 0.5, 10.0


def wait_for_database(say: Say, *, seconds: float = SECONDS_FOR_DATABASE) -> None:
    """Until it takes a connection; CannotStart with what it says after `seconds`."""
    until, silent = time.monotonic() + seconds, True
    while True:
        try:
            connection.ensure_connection()
            return
        except DatabaseError as error:
            connection.close()
            said = " ".join(str(error).split())
        if time.monotonic() >= until:
            raise CannotStart(
                f"The database of DATABASE_URL can't be reached: {said}. Start it, or correct the address."
            )
        if silent:
            say(f"waiting for the database: {said}")
        silent = False
        time.sleep(SECONDS_A_TRY)


def bring_up_to_date(say: Say) -> None:
    """Apply what is missing; the command waits while another process is at it."""
    if unapplied():
        call_command("migrate", interactive=False, verbosity=0)
        say("database up to date")


def wait_for_migrations(say: Say) -> None:
    """Until somebody has applied all that this release knows. What a later release has applied is no obstacle."""
    next_word = 0.0
    while missing := unapplied():
        if time.monotonic() >= next_word:
            say(f"waiting for {len(missing)} migrations, {missing[0]} first: run manage.py migrate, or manage.py web")
            next_word = time.monotonic() + SECONDS_A_WORD
        time.sleep(2 * SECONDS_A_TRY)


def unapplied() -> list[str]:
    """Migrations of this release that the database lacks, as app.name, in their order."""
    executor = MigrationExecutor(connection)
    return [f"{one.app_label}.{one.name}" for one, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


@contextmanager
def migrating(alias: str = DEFAULT_DB_ALIAS, say: Say = print) -> Iterator[None]:
    """Keep every other process from migrating this database for the time of the block; waits for its turn."""
    database = connections[alias]
    if database.vendor == "postgresql":
        with _advisory_lock(database, say):
            yield
    elif database.vendor == "sqlite" and not database.is_in_memory_db():
        with _file_lock(Path(f"{database.settings_dict['NAME']}.migrating"), say):
            yield
    else:
        yield


@contextmanager
def _advisory_lock(database: BaseDatabaseWrapper, say: Say) -> Iterator[None]:
    holder = database.copy(f"{database.alias} migration lock")
    holder.settings_dict["OPTIONS"] = {k: v for k, v in holder.settings_dict["OPTIONS"].items() if k != "pool"}
    try:
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            _in_turn(lambda: _locked(cursor), say)
            yield
    finally:
        holder.close()


def _locked(cursor) -> bool:
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
    return cursor.fetchone()[0]


@contextmanager
def _file_lock(path: Path, say: Say) -> Iterator[None]:
    with path.open("a") as file:
        _in_turn(lambda: _flocked(file), say)
        yield


def _flocked(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_turn(take: Callable[[], bool], say: Say) -> None:
    """Try until it is ours; say once that another is at it."""
    silent = True
    while not take():
        if silent:
            say("another process migrates this database; waiting for it to end")
        silent = False
        time.sleep(SECONDS_A_TRY)
