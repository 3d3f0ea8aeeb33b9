"""Databases for tests without the waiting.

On SQLite a run begins with a migrated database that is made once for each state of the migrations, then copied:
migrating takes seconds, for each of the processes that share a run and for every run that a test starts. The copy's own
`migrate` then finds nothing to do. On PostgreSQL the database is made as ever, and emptied between tests by DELETE.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import django

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build" / "test-databases"


def put_migrated(place: Path) -> None:
    """A migrated SQLite database at `place`."""
    KEPT.mkdir(parents=True, exist_ok=True)
    made = KEPT / f"{_state()}.sqlite3"
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            _make(made)
        shutil.copy(made, place)


def _state() -> str:
    """The same as long as the migrations and Django are."""
    sources = sorted((ROOT / "hub" / "migrations").glob("*.py"))
    words = [
        django.__version__.encode(),
        *(part for path in sources for part in (path.name.encode(), path.read_bytes())),
    ]
    return hashlib.sha256(b"\0".join(words)).hexdigest()[:16]


def _make(made: Path) -> None:
    for old in KEPT.glob("*.sqlite3*"):
        old.unlink()
    fresh = made.with_suffix(".fresh")
    fresh.unlink(missing_ok=True)
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{fresh}", "DJANGO_SETTINGS_MODULE": "hub.settings"}
    subprocess.run([sys.executable, "manage.py", "migrate", "-v0"], cwd=ROOT, env=environment, check=True)
    fresh.rename(made)


def delete_to_flush() -> None:
    """Let PostgreSQL's tables be emptied by DELETE: TRUNCATE makes new files of each, and waits for the disk.

    Foreign keys are checked at the end of the transaction, so the order of tables is none of its matter.
    """
    from django.db.backends.postgresql.operations import DatabaseOperations  # Only where it is installed.

    truncate = DatabaseOperations.sql_flush

    def sql_flush(self, style, tables, *, reset_sequences=False, allow_cascade=False):
        if reset_sequences:
            return truncate(self, style, tables, reset_sequences=True, allow_cascade=allow_cascade)
        return [f"DELETE FROM {self.quote_name(table)};" for table in tables]

    DatabaseOperations.sql_flush = sql_flush
