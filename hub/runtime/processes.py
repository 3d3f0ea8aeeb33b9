"""Child processes with a log file each: started in a group of their own, stopped softly then hard, never left behind.

A group of its own keeps Ctrl-C in the terminal from reaching a child before its turn to stop. Where the system can
(Linux), a child is told to stop when its parent dies, however that died.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
TAIL_LINES = 12
LOG_BYTES = 10_000_000


class Child:
    """One process of the hub. `ready` answers whether it serves; None means that there is nothing to wait for."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        folder: Path,
        ready: Callable[[], bool] | None = None,
        grace: float = 10.0,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self.environment = dict(environment)
        self.folder = folder
        self.ready = ready
        self.grace = grace
        self.deaths: deque[float] = deque(maxlen=5)
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start it, its output appended to the log (an earlier log that is large is kept once as `.1`)."""
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            os.replace(self.log, self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    def wait_ready(self, seconds: float) -> bool:
        """True once it serves; False when it died or the time ran out."""
        until = time.monotonic() + seconds
        while self.alive() and time.monotonic() < until:
            if self.ready is None or self.ready():
                return True
            time.sleep(0.1)
        return False

    def alive(self) -> bool:
        """True while the process runs."""
        return self.process is not None and self.process.poll() is None

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        if self.alive():
            self._signal(signal.SIGTERM)

    def stop(self, grace: float | None = None) -> None:
        """SIGTERM, and SIGKILL for what still runs of its group after `grace` seconds."""
        if self.process is None:
            return
        self.ask_to_stop()
        try:
            self.process.wait(self.grace if grace is None else grace)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()
        self._signal(signal.SIGKILL)

    def dies_too_often(self) -> bool:
        """Note a death; True when it was the fifth within two minutes."""
        self.deaths.append(time.monotonic())
        return len(self.deaths) == self.deaths.maxlen and self.deaths[-1] - self.deaths[0] < 120

    def tail(self) -> str:
        """The log's last lines."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 8000))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-TAIL_LINES:])

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
