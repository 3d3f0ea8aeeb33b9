"""How a worker runs each kind of job: one module a kind, each with its home under the name `HOME`.

They mirror `hub.services.jobs.kinds`: a home serves the methods whose recipe is of its class, or derived from it.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from composition.recipes import Recipe
from composition.registry import METHODS, Homes
from hub.models import Job
from workers import leftovers
from workers.attempt import Attempt
from workers.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKind:
    """`run` does the whole of an attempt; `work` names the folders in which jobs keep what they can go on from."""

    recipe: type[Recipe]
    run: Callable[[Attempt, Worker], None]
    work: str = ""


HOMES: Homes[WorkerKind] = Homes(sys.modules[__name__], "HOME")


def home_of(job: Job) -> WorkerKind:
    """The home of a job's kind."""
    return HOMES.of(METHODS[job.kind])


def work_folder(root: Path, job: Job) -> Path:
    """The folder in which this job's stages lie, made if it is missing; those of jobs that are over go."""
    leftovers.sweep(root, {home.work for home in HOMES.all.values() if home.work})
    folder = root / f"{home_of(job).work}-{job.pk}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
