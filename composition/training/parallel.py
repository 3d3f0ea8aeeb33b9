"""One training on several devices: every process works on its share of a batch, and the gradients are added up.

Batch, learning rate and number of steps stay the recipe's, and sums run over the whole batch, so more devices change
the time and the rounding and nothing else. `launch` starts the processes with torchrun and hears what the first tells;
accelerate finds each one's device and their way to talk (NCCL between GPUs, Gloo between processors).
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from composition.errors import Cancelled, CompositionError
from composition.progress import Progress, ignore

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_END = 60.0
"""How long the processes may take to keep their state when they are stopped."""
LAST_WORDS = 2000
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Replicas:
    """The processes that train one model together, as one of them sees them: `rank` of `size`."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this one writes files and tells how far things are."""
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `size`-th item from `rank` on."""
        return items[self.rank :: self.size]

    def add(self, value: Tensor) -> Tensor:
        """The sum of all processes' values; without a gradient."""
        value = value.detach()
        if self.size > 1:
            value = value.clone()
            torch.distributed.all_reduce(value)
        return value

    def add_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Every parameter's gradient becomes the sum over the processes, in one message; None counts as zero."""
        if self.size == 1:
            return
        chosen = list(parameters)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in chosen]
        flat = torch.cat([grad.flatten().float() for grad in grads])
        torch.distributed.all_reduce(flat)
        parts = flat.split([p.numel() for p in chosen])
        for parameter, part in zip(chosen, parts, strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)

    @torch.no_grad()
    def follow_first(self, parameters: Iterable[Tensor]) -> None:
        """Every process gets the first one's values."""
        if self.size > 1:
            for parameter in parameters:
                torch.distributed.broadcast(parameter.data, 0)


ALONE = Replicas()


def deal(sizes: Sequence[int], processes: int) -> list[int]:
    """Each item's process: the largest first, each to the one that has least so far."""
    loads, owners = [0] * processes, [0] * len(sizes)
    for item in sorted(range(len(sizes)), key=lambda item: -sizes[item]):
        owners[item] = loads.index(min(loads))
        loads[owners[item]] += sizes[item]
    return owners


class Task(Protocol):
    """What runs in every process; arguments and result are plain JSON. The first process's result counts."""

    def __call__(self, arguments: dict[str, Any], replicas: Replicas, progress: Progress) -> Any: ...


def launch(task: str, arguments: Mapping[str, Any], *, processes: int, progress: Progress = ignore) -> Any:
    """Run `task` ("module:function", a Task) in so many processes, and return what the first returns.

    What progress raises stops them all, after the first has kept its state. A CompositionError of any of them is raised
    here. Without GPUs the processes share this one's threads.
    """
    threads = str(max(1, torch.get_num_threads() // processes))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    with tempfile.TemporaryDirectory(prefix="replicas-") as name, (Path(name) / "stderr").open("w+b") as words:
        spec = Path(name) / "task.json"
        spec.write_text(json.dumps({"task": task, "arguments": arguments, "threads": int(threads)}))
        command = [*start, "--module", "composition.training.parallel", str(spec)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, env=environment, text=True)
        outcome: dict[str, Any] = {}
        try:
            assert process.stdout is not None
            for line in process.stdout:
                told = _told(line)
                if "progress" in told:
                    fraction, message, figures = told["progress"]
                    progress(fraction, message, **figures)
                elif told and "error" not in outcome:
                    outcome = told
            process.wait()
        finally:
            _end(process)
        if "error" in outcome:
            error = outcome["error"]
            raise CompositionError(error.pop("code"), error.pop("message"), **error)
        if "result" not in outcome:
            words.seek(0)
            last = words.read().decode(errors="replace")[-LAST_WORDS:]
            raise RuntimeError(f"{processes} processes of {task} ended without a result:\n{last}")
        return outcome["result"]


def _told(line: str) -> dict[str, Any]:
    """What a line of a process's output says; libraries print other things."""
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) and told.keys() & {"progress", "result", "error"} else {}


def _end(process: subprocess.Popen) -> None:
    """Ask the processes to keep what they have and end; kill those that don't."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def main() -> None:
    """One process, as torchrun starts it."""
    from accelerate import PartialState

    spec = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(spec["threads"])
    state = PartialState(cpu=not torch.cuda.is_available())
    replicas = Replicas(state.process_index, state.num_processes, str(state.device))
    stopping = False

    def stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True

    def tell(fraction: float, message: str = "", **figures: Any) -> None:
        if replicas.first:
            if stopping:
                raise Cancelled
            _say({"progress": [fraction, message, figures]})

    # The first ends after a whole step, with its state kept; the others end when it no longer answers.
    signal.signal(signal.SIGTERM, stop if replicas.first else signal.SIG_IGN)
    module, _, function = spec["task"].partition(":")
    task: Task = getattr(importlib.import_module(module), function)
    try:
        result = task(spec["arguments"], replicas, tell)
    except CompositionError as error:
        _say({"error": error.to_dict()})
        sys.exit(1)
    except Cancelled:
        sys.exit(1)
    if replicas.first:
        _say({"result": result})
    with contextlib.suppress(Exception):
        torch.distributed.destroy_process_group()


def _say(told: Mapping[str, Any]) -> None:
    """One line, written at once, so that lines of several processes don't mix."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
