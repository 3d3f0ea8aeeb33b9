"""The hub under test: `manage.py up` with a data folder of its own, and the faults that are done to it."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("web", "worker1", "worker2", "valkey")
# A worker's lease here: shorter than the longest stop, so that ghosts of attempts appear.
LEASE = 6


@dataclass(frozen=True, slots=True)
class Fault:
    """Something done to a part, in seconds since the start."""

    part: str
    what: str
    begin: float
    end: float


class Site:
    """A hub started by the command that people use; `postgres` and `redis_url` in place of SQLite and Valkey."""

    def __init__(self, data: Path, *, postgres: str = "", redis_url: str = "") -> None:
        self.data, self.postgres, self.redis_url = data, postgres, redis_url
        named = ("REDIS_URL", "DATABASE_URL", "STORAGE_URL", "DJANGO_SETTINGS_MODULE", "HUB_SECRET_KEY")
        self.environment = {name: value for name, value in os.environ.items() if name not in named}
        self.environment |= {"HUB_DATA": str(data), "HUB_WORKER_THREADS": "1", "HUB_JOB_LEASE_SECONDS": str(LEASE)}
        self.environment |= {"DATABASE_URL": postgres} if postgres else {}
        self.environment |= {"REDIS_URL": redis_url} if redis_url else {}
        self.environment |= {"OMP_NUM_THREADS": "1", "HUB_DEBUG": "False"}
        self.process: subprocess.Popen | None = None
        self.began = time.monotonic()
        self.faults: list[Fault] = []
        self.url = ""

    def start(self) -> None:
        """Start it, and wait until it says where it serves."""
        log = (self.data / "up.log").open("ab")
        command = [sys.executable, str(ROOT / "manage.py"), "up", "--port", "0", "--workers", "2"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        end = time.monotonic() + 180
        while not self.url:
            if self.process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the hub did not start:\n{self.said()}")
            time.sleep(0.3)
            self.url = self._address()
        self.began = time.monotonic()

    def now(self) -> float:
        """Seconds since it was up."""
        return time.monotonic() - self.began

    def said(self) -> str:
        """What `up` printed."""
        return (self.data / "up.log").read_text(errors="replace")

    def manage(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        """Run a management command on this hub."""
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, **options)

    def pids(self, part: str) -> list[int]:
        """The processes of a part, its own first: the supervisor's child and that one's children."""
        rows = self._processes()
        mark = {"web": "hub.wsgi", "valkey": "valkey"}.get(part, f"-n {part}@")
        found = [pid for pid, parent, command in rows if parent == self.process.pid and mark in command]
        for pid, parent, _ in rows:
            if parent in found:
                found.append(pid)
        return found

    def stop(self) -> list[int]:
        """Ctrl-C; the processes that outlived it."""
        mine = [pid for part in PARTS for pid in self.pids(part)]
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return [self.process.pid, *mine]
        return [pid for pid in mine if Path(f"/proc/{pid}").exists()]

    def kill(self, part: str) -> None:
        """SIGKILL a part, and wait until it is there again."""
        before, begin = self.pids(part), self.now()
        for pid in before[:1] if part != "web" else before:
            self._send(pid, signal.SIGKILL)
        self._until(lambda: self._there_again(part, before))
        self._note(part, "killed", begin)

    def pause(self, part: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after some seconds."""
        pids, begin = self.pids(part), self.now()
        for pid in pids:
            self._send(pid, signal.SIGSTOP)
        time.sleep(seconds)
        for pid in pids:
            self._send(pid, signal.SIGCONT)
        self._note(part, f"stopped for {seconds:.0f} s", begin)

    def drop_database(self) -> None:
        """Close every connection to PostgreSQL."""
        begin = self.now()
        subprocess.run(
            [sys.executable, "-c", DROP, self.postgres], cwd=ROOT, check=True, capture_output=True, timeout=60
        )
        self._note("database", "connections closed", begin)

    def drop_broker(self) -> None:
        """Close every connection to the broker."""
        begin = self.now()
        try:
            url = self.redis_url or (self.data / "valkey" / "url").read_text()
            redis.Redis.from_url(url, socket_timeout=5).execute_command("CLIENT", "KILL", "TYPE", "normal")
        except (redis.RedisError, OSError):
            return
        self._note("valkey", "connections closed", begin)

    def hurt(self, chance: random.Random, parts: tuple[str, ...]) -> None:
        """One fault at random, of one of these parts."""
        part = chance.choice(parts)
        if part == "database":
            self.drop_database()
        elif part == "valkey" and chance.random() < 0.3:
            self.drop_broker()
        elif chance.random() < 0.35:
            self.pause(part, chance.uniform(1, 2 * LEASE))
        else:
            self.kill(part)

    def memory(self, part: str) -> int:
        """Bytes of anonymous memory of a part's processes; files that are mapped are no cost."""
        return sum(map(_anonymous, self.pids(part)))

    def serves(self) -> bool:
        """True if a page is answered."""
        try:
            return httpx.get(f"{self.url}/", timeout=20, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _there_again(self, part: str, before: list[int]) -> bool:
        there = self.pids(part)
        return bool(there) and there[0] not in before and (part != "web" or self.serves())

    def _until(self, true) -> None:
        end = time.monotonic() + 120
        while not true() and time.monotonic() < end and self.process.poll() is None:
            time.sleep(0.2)

    def _note(self, part: str, what: str, begin: float) -> None:
        self.faults.append(Fault(part, what, begin, self.now()))

    def _send(self, pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    def _address(self) -> str:
        try:
            return json.loads((self.data / "up.lock").read_text()).get("url", "")
        except (OSError, ValueError):
            return ""

    def _processes(self) -> list[tuple[int, int, str]]:
        listed = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in listed.splitlines()]
        return sorted((int(row[0]), int(row[1]), row[2]) for row in rows if len(row) == 3)


def _anonymous(pid: int) -> int:
    try:
        found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


DROP = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                       "WHERE datname = current_database() AND pid <> pg_backend_pid()")
"""
