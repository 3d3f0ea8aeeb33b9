"""A whole hub on one machine: Valkey (unless REDIS_URL names a server), workers and the web server, as one program.

    runtime = Runtime(host="127.0.0.1", port=8000)
    with runtime:          # migrated, everything started and answering
        runtime.watch()    # until Ctrl-C or SIGTERM; a child that dies is started again

A file lock on the data folder keeps a second hub out of it; the lock's file says where the first one serves.
"""

import fcntl
import json
import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from django.conf import settings

from hub.env import env
from hub.runtime.processes import Child
from hub.runtime.valkey import Valkey, free, free_port
from hub.services.starting.refusal import CannotStart

# A connection that says nothing for this long, before or between requests, is closed.
HEADER_SECONDS = 15
# Who still reads an answer when the server is told to stop has this long.
STOP_SECONDS = 5
# What granian may hold of a connection's bytes, each way; it also hands a body over in messages of this size.
BUFFER_BYTES = 256 << 10
BACKLOG, CONNECTIONS = 4096, 8192
START_SECONDS = 60.0
# From this death of a series on, the end of the child's log is shown with it.
DEATHS_TO_EXPLAIN = 3
SECONDS_A_LOOK_AT_THE_DISK = 30.0
LITTLE_DISK = 200_000_000


class Runtime:
    """The hub's processes. `say` is told what happens; port 0 takes a free one."""

    def __init__(self, *, host: str, port: int, workers: int = 1, say: Callable[[str], None] = print) -> None:
        self.data: Path = settings.HUB_DATA
        self.host, self.port, self.workers, self.say = host, port, workers, say
        self.children: list[Child] = []
        self.valkey: Valkey | None = None
        self.stopping = False
        self._lock = None
        self._next_look = 0.0
        self._disk_is_full = False

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"http://{host}:{self.port}"

    def __enter__(self) -> "Runtime":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def reserve(self) -> None:
        """Take the data folder and the port, or raise CannotStart."""
        self._lock = (self.data / "up.lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            there = running(self.data)
            self._lock.close()
            self._lock = None
            where = f"at {there['url']} (process {there['pid']})" if there else "and is just starting"
            raise CannotStart(f"The hub of {self.data} is already running, {where}. Stop it first.") from None
        self._note({})
        if self.port and not free(self.host, self.port):
            raise CannotStart(
                f"Port {self.port} of {self.host} is taken by another program. Stop it, or choose another port: "
                f"make up PORT={self.port + 80}"
            )
        self.port = self.port or free_port(self.host)

    def watch(self) -> None:
        """Keep everything running until a signal comes. What dies is started again, later each time it dies soon after;
        the others go on meanwhile, so a worker never takes the web server down."""
        before = {number: signal.signal(number, self._stop_asked) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while not self.stopping:
                for child in self.children:
                    if not child.alive() and not self.stopping:
                        self._revive(child)
                self._look_at_disk()
                time.sleep(0.3)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Stop all: web and workers together, then the broker they speak to. Data stays."""
        broker = self.children[:1] if self.valkey else []
        others = self.children[len(broker) :]
        for child in others:
            child.ask_to_stop()
        for child in [*others, *broker]:
            child.stop()
        self.children = []
        if self.valkey:
            self.valkey.forget()
        if self._lock:
            self._note({})
            self._lock.close()
            self._lock = None

    def _start(self) -> None:
        if self._lock is None:
            self.reserve()
        self.logs = self.data / "logs"
        self.logs.mkdir(exist_ok=True)
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "hub.settings",
            "HUB_DATA": str(self.data),
            "PYTHONUNBUFFERED": "1",
        }
        if not env("REDIS_URL"):
            self.valkey = Valkey(self.data)
            command = self.valkey.command()
            environment["REDIS_URL"] = self.valkey.url
            self._run(Child("valkey", command, **self._place("valkey", os.environ), ready=self.valkey.answers))
        for number in range(1, self.workers + 1):
            name = "worker" if self.workers == 1 else f"worker{number}"
            threads = {"OMP_NUM_THREADS": str(settings.WORKER_THREADS)}
            self._run(Child(name, worker_command(name), **self._place(name, environment | threads), grace=20.0))
        self._run(Child("web", self._web_command(), **self._place("web", environment), ready=self._serves))
        self._note({"url": self.url, "pid": os.getpid()})

    def _place(self, name: str, environment: dict) -> dict:
        return {"log": self.logs / f"{name}.log", "environment": dict(environment), "folder": settings.ROOT}

    def _run(self, child: Child) -> None:
        self.children.append(child)
        child.start()
        ready = child.wait_ready(START_SECONDS)
        if not ready and self._explain_broker(child):
            child.start()
            ready = child.wait_ready(START_SECONDS)
        if not ready:
            raise CannotStart(f"{child.name} did not start. The end of {child.log}:\n{child.tail()}")
        self.say(f"  {child.name:8} {'ready' if child.ready else 'started'}")

    def _revive(self, child: Child) -> None:
        """Say that it stopped and why, once; start it again when its delay is over."""
        if child.start_at is None:
            delay = child.died()
            times = f" {child.deaths} times in a row" if child.deaths > 1 else ""
            again = "starting it again" + (f" in {delay:.0f} s" if delay >= 1 else "")
            self.say(f"  {child.name} stopped{times} ({child.ending()}); {again}. Its log: {child.log}")
            if child.deaths >= DEATHS_TO_EXPLAIN:
                self.say(f"  The end of it:\n{child.tail()}")
            self._explain_broker(child)
        elif time.monotonic() >= child.start_at:
            child.stop(grace=0)
            try:
                child.start()
            except OSError as error:
                child.process = None
                self.say(f"  {child.name} can't be started: {error}")
                child.died()

    def _explain_broker(self, child: Child) -> bool:
        """Say what is wrong with the broker's files, and begin with new ones where they are damaged; True if so."""
        if self.valkey is None or child is not self.children[0]:
            return False
        trouble = self.valkey.trouble(child.said())
        if trouble:
            self.say(f"  {trouble}")
        return bool(trouble) and self.valkey.set_aside_damaged(child.said())

    def _look_at_disk(self) -> None:
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + SECONDS_A_LOOK_AT_THE_DISK
        free_bytes = shutil.disk_usage(self.data).free
        if free_bytes < LITTLE_DISK and not self._disk_is_full:
            self.say(
                f"  The disk of {self.data} is nearly full: {free_bytes / 1e6:.0f} MB are free. Uploads, jobs and the "
                "broker fail when it is full. Free some space, or move HUB_DATA to a larger disk."
            )
        self._disk_is_full = free_bytes < LITTLE_DISK

    def _stop_asked(self, *_: object) -> None:
        if self.stopping:
            self.say("Stopping at once.")
            for child in self.children:
                child.stop(grace=0)
            return
        self.stopping = True
        self.say("\nStopping. A running job goes back to the queue and runs again at the next start.")

    def _web_command(self) -> list[str]:
        return web_command(self.host, self.port)

    def _serves(self) -> bool:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/healthz", timeout=10):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def _note(self, content: dict) -> None:
        self._lock.seek(0)
        self._lock.truncate()
        json.dump(content, self._lock)
        self._lock.flush()


def web_command(host: str, port: int) -> list[str]:
    """The web server; `hub.front` holds back what granian can't: slow bodies, slow readers, too much of one address."""
    options = ["--interface", "asgi", "--host", host, "--port", str(port), "--no-ws", "--http", "1"]
    options += ["--http1-header-read-timeout", str(HEADER_SECONDS * 1000), "--respawn-failed-workers"]
    options += ["--workers-kill-timeout", str(STOP_SECONDS), "--http1-buffer-size", str(BUFFER_BYTES)]
    options += ["--backlog", str(BACKLOG), "--backpressure", str(CONNECTIONS)]
    return [sys.executable, "-m", "granian", *options, "hub.asgi:application"]


def worker_command(name: str, *, queues: str | None = None) -> list[str]:
    """One Celery worker; unless `queues` says otherwise, it serves the GPU's too where this machine has one."""
    queues = queues or ("cpu,gpu" if shutil.which("nvidia-smi") else "cpu")
    options = ["-Q", queues, "-n", f"{name}@%h", "--loglevel", "INFO"]
    options += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [sys.executable, "-m", "celery", "-A", "workers.app", "worker", *options]


def running(data: Path) -> dict | None:
    """{"url", "pid"} of the hub that serves this data folder now, if one does."""
    try:
        there = json.loads((data / "up.lock").read_text())
        os.kill(there["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return there
