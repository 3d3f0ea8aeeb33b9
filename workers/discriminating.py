"""Training a discriminator beside an adapter: real inputs against those its base invents, kept as a companion.

The real inputs come as a private file of the job, of which the hub keeps nothing once it is done, or as a dataset. The
state lies in the worker's cache under the job's number, as an assembly's does.
"""

import shutil

from composition.recipes import DiscriminatorRecipe, recipe_from_dict
from composition.registry import METHODS
from hub.models import State
from hub.services.content.companions import SEEDS
from hub.services.jobs import files as job_files
from hub.services.jobs.check import named
from hub.services.jobs.results import keep_discriminator
from hub.storage import blobs
from workers.attempt import Attempt
from workers.evaluating import read_rows, replaces
from workers.leftovers import work_folder
from workers.transferring import loader, rows_of, with_task
from workers.worker import Worker, inputs_of


def discriminate(attempt: Attempt, worker: Worker) -> None:
    """Train, measure and keep the job's discriminator. Raises what it refuses, such as too little recall."""
    job = attempt.job
    recipe = recipe_from_dict(job.recipe)
    assert isinstance(recipe, DiscriminatorRecipe)
    (row,) = inputs_of(job, "adapter")
    attempt.say(f"Reading {named(row.version)}")
    source = worker.input_folder(row)
    real = [one["prompt"] for one in _real(attempt, worker, recipe)]
    seeds = [one["prompt"] for one in rows_of(attempt, SEEDS)]
    work = work_folder(worker.cache.root, "discriminator", job)
    attempt.advance(State.RUNNING)
    try:
        made = METHODS[job.kind].load()(
            loader(attempt, worker, job.base, fresh=replaces(row.version)),
            source,
            real,
            seeds,
            with_task(recipe, row),
            work=work,
            source_name=str(job.base),
            progress=attempt.progress,
        )
    except BaseException:
        worker.models.drop(job.base)
        raise
    attempt.advance(State.SAVING)
    files = {name: blobs.add(made.folder / name) for name in sorted(job_files.PEFT_FILES)}
    attempt.say(f"It knows {100 * made.facts['recall']:.0f} % of held-out real inputs")
    keep_discriminator(job=job, version=row.version, files=files, facts=made.facts, environment=worker.environment)
    shutil.rmtree(work, ignore_errors=True)


def _real(attempt: Attempt, worker: Worker, recipe: DiscriminatorRecipe) -> list[dict]:
    datasets = inputs_of(attempt.job, "dataset")
    if not datasets:
        return rows_of(attempt, job_files.REAL)
    rows = read_rows(worker.input_folder(datasets[0]), recipe.split)
    attempt.say(f"{len(rows)} rows of {named(datasets[0].version)}, split {recipe.split}")
    return rows
