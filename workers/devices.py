"""The devices and threads of this process, and the facts that decide whether two runs give the same bytes."""

import platform
import resource
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from django.conf import settings
from threadpoolctl import threadpool_limits


def fix_threads() -> None:
    """Fix the number of threads for the whole life of the worker: sums in another order give other bytes."""
    torch.set_num_threads(settings.WORKER_THREADS)
    threadpool_limits(settings.WORKER_THREADS)  # numpy's BLAS, which torch doesn't control


def device() -> torch.device:
    """The device that methods run on if they can run on any."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def placement(needed: int) -> Any:
    """Where to put a base of `needed` bytes, as accelerate's device_map; None is the CPU.

    It goes on the first GPU if it fits (with several GPUs, only if as much again is free to work in). Otherwise it
    fills all GPUs one after another, then the machine's memory.
    """
    if not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info(0)
    room = needed if torch.cuda.device_count() == 1 else 2 * needed
    return {"": 0} if room <= free else "auto"


def processes() -> int:
    """The number of processes for training: HUB_TRAINING_PROCESSES, or by default one per GPU."""
    return settings.TRAINING_PROCESSES or max(1, torch.cuda.device_count())


def device_name() -> str:
    """The device for people to read: the GPU's name, or the processor's architecture."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({platform.machine()})"


def environment() -> dict[str, object]:
    """The environment in the promise "same recipe, inputs and environment, same bytes"."""
    packages = {name: version(name) for name in ("torch", "transformers", "peft", "numpy", "safetensors")}
    return {
        **packages,
        "python": platform.python_version(),
        "device": device().type,
        "device_name": device_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "training_processes": processes(),
    }


def memory_used() -> int:
    """The most bytes this process has used since it began: of the GPU if there is one, otherwise of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def memory_now() -> dict[str, int]:
    """Bytes in use at the moment: of this process, and of its first GPU by all programs, with what that GPU has."""
    pages = Path("/proc/self/statm")
    found = {}
    if pages.exists():
        found["process"] = int(pages.read_text().split()[1]) * resource.getpagesize()
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info(0)
        found |= {"device_used": total - free, "device_total": total}
    return found
