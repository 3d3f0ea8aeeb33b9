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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1
TAIL_LINES = 12
LOG_BYTES = 10_000_000
# One that dies is started again after this many seconds, then twice as many, and so on up to the longest.
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
# One that ran for so long is healthy: its next death counts as the first.
HEALTHY_SECONDS = 60.0


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
        self.deaths = 0
        self.start_at: float | None = None
        self.process: subprocess.Popen | None = None
        self._started = 0.0
        self._log_begins = 0

    def start(self) -> None:
        """Start it, its output appended to the log (an earlier log that is large is kept once as `.1`)."""
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            os.replace(self.log, self.log.with_suffix(".log.1"))
        self._log_begins = self.log.stat().st_size if self.log.exists() else 0
        self._started, self.start_at = time.monotonic(), None
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

    def died(self) -> float:
        """Note a death, and set when to start it again: the seconds until then, more with each death of a series."""
        now = time.monotonic()
        self.deaths = 1 if now - self._started > HEALTHY_SECONDS else self.deaths + 1
        delay = min(FIRST_DELAY * 2 ** (self.deaths - 1), LONGEST_DELAY)
        self.start_at = now + delay
        return delay

    def ending(self) -> str:
        """How it ended, in words."""
        status = self.process.returncode if self.process else None
        if status is None:
            return "it could not be started"
        if status >= 0:
            return f"exit {status}"
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        return f"killed by {name}" + (", often for want of memory" if name == "SIGKILL" else "")

    def said(self) -> str:
        """What it has logged since its last start, at most the last 8,000 bytes."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(self._log_begins, self.log.stat().st_size - 8000))
            return file.read().decode(errors="replace")

    def tail(self) -> str:
        """The last lines that it logged since its last start."""
        return "\n".join(f"    {line}" for line in self.said().splitlines()[-TAIL_LINES:])

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
