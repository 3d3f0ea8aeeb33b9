"""How a worker runs each kind of job: one module a kind, each with its home under the name `HOME`.

They mirror `hub.services.jobs.kinds`: a home serves the methods whose recipe is of its class or of a subclass.
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
    """`run` does a whole attempt; `work` names the folders that jobs resume from."""

    recipe: type[Recipe]
    run: Callable[[Attempt, Worker], None]
    work: str = ""


HOMES: Homes[WorkerKind] = Homes(sys.modules[__name__], "HOME")


def home_of(job: Job) -> WorkerKind:
    """The home of a job's kind."""
    return HOMES.of(METHODS[job.kind])


def work_folder(worker: Worker, job: Job) -> Path:
    """The folder of this job's stages, made if it is missing, with what another worker left of them in the store.

    What comes of it is carried there now and then. Folders of jobs that are over are removed.
    """
    root = worker.cache.root
    leftovers.sweep(root, {home.work for home in HOMES.all.values() if home.work})
    folder = root / f"{home_of(job).work}-{job.pk}"
    folder.mkdir(parents=True, exist_ok=True)
    worker.cache.hold(folder)
    worker.carrier.begin(job, folder)
    return folder
