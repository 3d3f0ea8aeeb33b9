"""Processes of a larger site, as its operators start them: `manage.py web|worker|beat` on hosts with folders apart."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from hub.runtime.valkey import free_port
from tests.workers.stage import until

ROOT = Path(__file__).resolve().parents[3]
SERVER = os.environ.get("TEST_POSTGRES_URL", "postgres://postgres@127.0.0.1:5432/postgres")
NOBODY = "redis://127.0.0.1:1/0"
KEY = "the same for every host of this site, and long enough"
OURS = ("DATABASE_URL", "REDIS_URL", "STORAGE_URL", "DJANGO_SETTINGS_MODULE", "HUB_DATA", "HUB_SECRET_KEY")


@contextmanager
def empty_database() -> Iterator[str]:
    """The address of a new PostgreSQL database, dropped afterwards; skips the test where there is no server."""
    name = f"test_hosts_{os.getpid()}_{uuid.uuid4().hex[:6]}"
    try:
        server = psycopg.connect(SERVER, autocommit=True, connect_timeout=2)
    except psycopg.OperationalError:
        pytest.skip("needs PostgreSQL on its usual port")
    with server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield SERVER.rsplit("/", 1)[0] + f"/{name}"
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Host:
    """A machine with a data folder of its own; the store is shared, as a site's is."""

    def __init__(self, folder: Path, database: str, *, store: Path, **environment: str) -> None:
        self.folder, self.processes = folder, []
        folder.mkdir(parents=True)
        self.environment = {name: value for name, value in os.environ.items() if name not in OURS} | {
            "HUB_DATA": str(folder),
            "DATABASE_URL": database,
            "REDIS_URL": NOBODY,
            "STORAGE_URL": f"file://{store}",
            "HUB_SECRET_KEY": KEY,
            "OMP_NUM_THREADS": "1",
            "HUB_JOB_LEASE_SECONDS": "5",
            "PYTHONUNBUFFERED": "1",
            **environment,
        }
        self.environment = {name: value for name, value in self.environment.items() if value}
        self.port = free_port("127.0.0.1")

    def start(self, *command: str) -> subprocess.Popen:
        """Start `manage.py COMMAND`, its output in the host's log."""
        log = (self.folder / "log").open("ab")
        program = [sys.executable, str(ROOT / "manage.py"), *command]
        process = subprocess.Popen(program, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def web(self) -> subprocess.Popen:
        """Start its web server."""
        return self.start("web", "--port", str(self.port))

    def run(self, *command: str, given: str = "") -> subprocess.CompletedProcess:
        """Run `manage.py COMMAND` to its end, at most 90 seconds, with `given` as its input."""
        how = {"cwd": ROOT, "env": self.environment, "capture_output": True, "text": True, "timeout": 90}
        return subprocess.run([sys.executable, str(ROOT / "manage.py"), *command], input=given, **how)

    def said(self) -> str:
        """What its processes printed."""
        path = self.folder / "log"
        return path.read_text(errors="replace")[-6000:] if path.exists() else ""

    def ready(self) -> bool:
        """Whether its web server can serve."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def wait_until(self, true, seconds: float = 120) -> None:
        """Wait for `true()`; fail with what the host said."""
        until(true, seconds, every=0.3, say=self.said)

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
