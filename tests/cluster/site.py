"""The hub on two web hosts and two worker hosts, and the faults that are done to them.

A host is a data folder of its own. What the hosts share is what settings name: the database, the broker, the object
store and the secret. Clients come through a balancer without stickiness. Everything that dies is started again, as a
service manager would.
"""

import contextlib
import functools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg

from hub.runtime.processes import Child
from hub.runtime.valkey import Valkey, free_port
from tests.cluster.relay import Relay, until
from tests.soak.site import LEASE, ROOT, Fault

BUCKET = "adapters"
WEB, WORKERS = ("web1", "web2"), ("worker1", "worker2", "worker3", "worker4")
OUTSIDE = ("database", "store")
PARTS = (*WEB, *WORKERS, "beat", "valkey", *OUTSIDE)
START_SECONDS = 120.0
# How long a part may be away: longer than a lease, so that its jobs are taken back and ghosts come back.
LONGEST = 2 * LEASE
CLEARED = ("HUB_DATA", "REDIS_URL", "DATABASE_URL", "STORAGE_URL", "STORAGE_ENDPOINT", "DJANGO_SETTINGS_MODULE")


class Cluster:
    """Started by `start`; `postgres` is the address of a server on which a database is made, and dropped at the end."""

    def __init__(self, folder: Path, *, postgres: str) -> None:
        self.folder, self.postgres = folder, postgres
        self.database = f"cluster_{os.getpid()}"
        self.valkey = Valkey(folder / "broker")
        self.children: dict[str, Child] = {}
        self.relays: dict[str, Relay] = {}
        self.faults: list[Fault] = []
        self.began = time.monotonic()
        self.environment: dict[str, str] = {}
        self._over = threading.Event()
        self._paused: set[str] = set()

    @property
    def url(self) -> str:
        """The balancer."""
        return self.relays["web"].url

    def start(self) -> None:
        """Start everything, and wait until both web hosts answer. The database is empty: both migrate it."""
        with psycopg.connect(self.postgres, autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")
            server.execute(f"CREATE DATABASE {self.database}")
        self._start_store()
        address = urlsplit(self.postgres)
        self.relays["database"] = Relay([(address.hostname or "127.0.0.1", address.port or 5432)])
        self._run("valkey", self.valkey.command(), self.folder / "broker", ready=self.valkey.answers)
        self._settings(address)
        ports = {name: free_port("127.0.0.1") for name in WEB}
        self.relays["web"] = Relay([("127.0.0.1", port) for port in ports.values()])
        for name, port in ports.items():
            serves = functools.partial(_serves, f"http://127.0.0.1:{port}")
            self._run(name, _manage("web", "--port", str(port)), self._host(name), ready=serves, wait=False)
        for number, name in enumerate(WORKERS):
            self._run(name, _manage("worker", "--name", name), self._host(f"workers{number // 2}"))
        self._run("beat", _manage("beat"), self._host("workers0"))
        for name in WEB:
            if not self.children[name].wait_ready(START_SECONDS):
                raise SystemExit(f"{name} did not start:\n{self.said()}")
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        self.began = time.monotonic()

    def now(self) -> float:
        """Seconds since everything was up."""
        return time.monotonic() - self.began

    def said(self) -> str:
        """The ends of the logs."""
        return "\n".join(f"{name}:\n{child.tail()}" for name, child in self.children.items())

    def logs(self) -> dict[str, str]:
        """What each part logged."""
        return {name: child.log.read_text(errors="replace") for name, child in self.children.items()}

    def manage(self, *arguments: str, host: str = WEB[0], **options) -> subprocess.CompletedProcess:
        """Run a management command with a host's settings."""
        command = _manage(*arguments)
        environment = self.environment | {"HUB_DATA": str(self._host(host))}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, **options)

    def stop(self) -> list[int]:
        """Stop everything; the processes that outlived it."""
        self._over.set()
        for name in list(self._paused):
            self._signal(name, signal.SIGCONT)
        mine = [child.process.pid for child in self.children.values() if child.process]
        for child in reversed(list(self.children.values())):
            child.ask_to_stop()
        for child in reversed(list(self.children.values())):
            child.stop(grace=20)
        for relay in self.relays.values():
            relay.close()
        with psycopg.connect(self.postgres, autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")
        return [pid for pid in mine if Path(f"/proc/{pid}").exists()]

    # Faults

    def hurt(self, chance: random.Random, part: str) -> None:
        """One fault at random to a part."""
        seconds = chance.uniform(1, LONGEST)
        if part in OUTSIDE:
            ways = {"connections cut": self._cut, "away": self._away, "stalled": self._stall}
            what = chance.choice(list(ways))
            begin = self.now()
            ways[what](part, seconds)
            self._note(part, what, begin)
        elif chance.random() < 0.35:
            self.pause(part, seconds)
        else:
            self.kill(part)

    def kill(self, part: str) -> None:
        """SIGKILL; it is started again."""
        begin, before = self.now(), self.children[part].process.pid
        self._signal(part, signal.SIGKILL)
        until(lambda: self._is_back(part, before), START_SECONDS)
        self._note(part, "killed", begin)

    def pause(self, part: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after some seconds."""
        begin = self.now()
        self._paused.add(part)
        self._signal(part, signal.SIGSTOP)
        time.sleep(seconds)
        self._signal(part, signal.SIGCONT)
        self._paused.discard(part)
        self._note(part, "paused", begin)

    def _cut(self, part: str, _: float) -> None:
        self.relays[part].cut()

    def _away(self, part: str, seconds: float) -> None:
        self.relays[part].go_away()
        time.sleep(seconds)
        self.relays[part].come_back()

    def _stall(self, part: str, seconds: float) -> None:
        self.relays[part].stall()
        time.sleep(seconds)
        self.relays[part].flow()

    def _note(self, part: str, what: str, begin: float) -> None:
        self.faults.append(Fault(part, what, begin, self.now()))

    # Parts

    def _start_store(self) -> None:
        port = free_port("127.0.0.1")
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self._run("s3", command, self.folder / "s3", ready=lambda: _answers(f"http://127.0.0.1:{port}/"))
        self.relays["store"] = Relay([("127.0.0.1", port)])
        made = httpx.put(f"http://127.0.0.1:{port}/{BUCKET}", trust_env=False)
        assert made.status_code == 200, made.text

    def _settings(self, address) -> None:
        user = address.netloc.rpartition("@")[0]
        place = (
            f"{user}@127.0.0.1:{self.relays['database'].port}" if user else f"127.0.0.1:{self.relays['database'].port}"
        )
        self.environment = {name: value for name, value in os.environ.items() if name not in CLEARED}
        self.environment |= {
            "DATABASE_URL": urlunsplit((address.scheme, place, f"/{self.database}", address.query, "")),
            "REDIS_URL": self.valkey.url,
            "STORAGE_URL": f"s3://{BUCKET}/hub",
            "STORAGE_ENDPOINT": self.relays["store"].url,
            "AWS_ACCESS_KEY_ID": "cluster",
            "AWS_SECRET_ACCESS_KEY": "cluster",
            "AWS_DEFAULT_REGION": "us-east-1",
            "HUB_SECRET_KEY": "a secret of this cluster, the same on every host of it, and long",
            "HUB_WORKER_THREADS": "1",
            "HUB_JOB_LEASE_SECONDS": str(LEASE),
            "HUB_DEBUG": "False",
            "DJANGO_SETTINGS_MODULE": "hub.settings",
            "OMP_NUM_THREADS": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def _host(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def _run(self, name: str, command: list[str], folder: Path, ready=None, wait: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        environment = (self.environment or dict(os.environ)) | {"HUB_DATA": str(folder)}
        child = Child(name, command, log=self.folder / f"{name}.log", environment=environment, folder=ROOT, ready=ready)
        self.children[name] = child
        child.start()
        if wait and ready is not None and not child.wait_ready(START_SECONDS):
            raise SystemExit(f"{name} did not start:\n{child.tail()}")

    def _watch(self) -> None:
        while not self._over.wait(0.3):
            for name, child in self.children.items():
                if not child.alive() and not self._over.is_set():
                    if name == "s3":
                        self.faults.append(Fault("s3", "died, and took all objects along", 0.0, self.now()))
                        return
                    child.start()

    def _is_back(self, part: str, before: int) -> bool:
        child = self.children[part]
        return child.alive() and child.process.pid != before and (child.ready is None or child.ready())

    def _signal(self, part: str, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.children[part].process.pid, number)


def _manage(*arguments: str) -> list[str]:
    return [sys.executable, str(ROOT / "manage.py"), *arguments]


def _serves(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=5, trust_env=False)
    except httpx.TransportError:
        return False
    return True
