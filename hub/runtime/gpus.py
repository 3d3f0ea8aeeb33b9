"""One worker a GPU: which processes a machine with several runs, and one program that keeps them running.

A worker is one process that runs one job at a time, on the first GPU that it sees. `manage.py worker --each-gpu` starts
as many as there are GPUs and shows each of them its own.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from django.conf import settings

from hub.runtime.processes import Child
from hub.services.starting.refusal import CannotStart

VISIBLE = "CUDA_VISIBLE_DEVICES"
NVIDIA_SMI = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
SECONDS_TO_ANSWER = 30.0
SECONDS_A_LOOK = 0.3
# A worker gives its job back before it ends.
GRACE = 20.0


def gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs of this machine by the names that CUDA knows: HUB_GPUS, else those that the environment shows, else all
    that `nvidia-smi` tells; [] where there is none."""
    if settings.WORKER_GPUS:
        return list(settings.WORKER_GPUS)
    if VISIBLE in environment:
        return [name.strip() for name in environment[VISIBLE].split(",") if name.strip() not in ("", "-1")]
    try:
        said = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=SECONDS_TO_ANSWER)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return said.stdout.split() if said.returncode == 0 else []


def places(name: str, environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Name of a worker → its environment, one for each GPU. CannotStart where there is none."""
    found = gpus(environment)
    if not found:
        raise CannotStart(
            "This machine shows no GPU: nvidia-smi tells of none. Start the worker without --each-gpu, or name them: "
            "HUB_GPUS=0,1."
        )
    if len(set(found)) < len(found):
        raise CannotStart(f"HUB_GPUS or {VISIBLE} names a GPU twice: {', '.join(found)}. Name each once.")
    return {f"{name}-gpu{number}": {**environment, VISIBLE: gpu} for number, gpu in enumerate(found)}


class Group:
    """Workers that run until a signal; one that dies is started again, later each time, and takes no other down."""

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        environments: Mapping[str, Mapping[str, str]],
        *,
        logs: Path,
        say: Callable[[str], None] = print,
    ) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.say, self.stopping = say, False
        self.children = [
            Child(
                name,
                command,
                log=logs / f"{name}.log",
                environment=environments[name],
                folder=settings.ROOT,
                grace=GRACE,
            )
            for name, command in commands.items()
        ]

    def run(self) -> None:
        """Start all, keep them running until SIGTERM or SIGINT, then let them give their jobs back and end."""
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for child in self.children:
                child.start()
                self.say(f"  {child.name} started. Its log: {child.log}")
            while not self.stopping:
                for child in self.children:
                    if not child.alive() and not self.stopping:
                        self._revive(child)
                time.sleep(SECONDS_A_LOOK)
        finally:
            for child in self.children:
                child.ask_to_stop()
            for child in self.children:
                child.stop()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _revive(self, child: Child) -> None:
        if child.start_at is None:
            delay = child.died()
            self.say(f"  {child.name} stopped ({child.ending()}); starting it again in {delay:.0f} s. Log: {child.log}")
        elif time.monotonic() >= child.start_at:
            child.stop(grace=0)
            child.start()

    def _stop(self, *_: object) -> None:
        self.stopping = True
