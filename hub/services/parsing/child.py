"""Running a reader as a process of its own: what a hostile file does to it, it does to nothing else.

A reader is a program beside this one that takes the data on its standard input and prints JSON. `bounded.py` bounds its
processor time and memory before it begins. It sees nothing of ours: no environment, no open file.
"""

import json
import logging
import math
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BOUNDED = Path(__file__).with_name("bounded.py")
TIME_OVER = (-signal.SIGXCPU, -signal.SIGKILL)

log = logging.getLogger(__name__)


class TooSlow(Exception):
    """The reader's time is over: `by_clock` where the wall clock said so, else it used up its processor time."""

    def __init__(self, *, by_clock: bool) -> None:
        super().__init__("the reader's time is over")
        self.by_clock = by_clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A reader's program and its bounds: seconds of processor time, bytes of memory."""

    program: Path
    seconds: float
    memory: int

    def read(self, data: bytes, *options: int, wall: float) -> dict:
        """What the reader says of `data`, or {"refused": "crashed"}; TooSlow where it takes longer, by clock after
        `wall` seconds."""
        bounds = (math.ceil(self.seconds), self.memory)
        command = [sys.executable, "-I", str(BOUNDED), *map(str, (*bounds, self.program, *options))]
        try:
            done = subprocess.run(command, input=data, capture_output=True, timeout=max(wall, 0.01), env={})
        except subprocess.TimeoutExpired:
            raise TooSlow(by_clock=True) from None
        if done.returncode in TIME_OVER:
            raise TooSlow(by_clock=False)
        found = {"refused": "crashed", "error": done.stderr[-300:].decode("utf-8", "replace")}
        if done.returncode == 0:
            found = json.loads(done.stdout)
        if "error" in found:
            log.info("%s: %s", self.program.name, found["error"])
        return found
