"""Runs a reader under bounds: `python -I bounded.py SECONDS BYTES PROGRAM OPTION…`, as a process of its own.

It stands alone, as the isolated interpreter finds nothing of the hub.
"""

import contextlib
import os
import resource
import runpy
import sys


def bound(seconds: int, memory: int) -> None:
    """No more than so many seconds of processor time and bytes of memory, and after everybody else."""
    os.nice(10)
    for limit, value in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):  # a system that doesn't bound this
            resource.setrlimit(limit, (value, value))


if __name__ == "__main__":
    bound(int(sys.argv[1]), int(sys.argv[2]))
    sys.argv = sys.argv[3:]
    runpy.run_path(sys.argv[0], run_name="__main__")
