"""The migrated database that every test run begins with: made once for each state of the migrations, then copied.

Migrating takes seconds, for each of the processes that share a run and for every run that a test starts. The copy's own
`migrate` then finds nothing to do. PostgreSQL's databases are made as ever.
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
