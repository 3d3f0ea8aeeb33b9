"""Training a discriminator for an adapter: real inputs against those its base invents, kept as a companion.

The real inputs come as a dataset, or as a private file of the job, of which the hub keeps nothing once the job is done.
The state is in the worker's cache under the job's number, like that of an assembly.
"""

import shutil

from composition.recipes import DiscriminatorRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import DATASET, State
from hub.models.companions import SEEDS
from hub.services.jobs.companion_files import PEFT_FILES
from hub.services.jobs.kinds.discriminator import REAL
from hub.services.jobs.results import keep_discriminator
from hub.storage import blobs
from workers.attempt import Attempt
from workers.inputs import dataset_rows, inputs_of, loader, private_rows, replaces, with_task
from workers.kinds import WorkerKind, work_folder
from workers.worker import Worker


def discriminate(attempt: Attempt, worker: Worker) -> None:
    """Train, measure and keep the job's discriminator. Raises what the method refuses, such as too little recall."""
    job = attempt.job
    recipe = recipe_from_dict(job.recipe)
    (row,) = inputs_of(job)
    attempt.say(f"Reading {row.version}")
    source = worker.input_folder(row)
    real = [one["prompt"] for one in _real(attempt, worker, recipe)]
    seeds = [one["prompt"] for one in private_rows(attempt, SEEDS)]
    work = work_folder(worker, job)
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
    files = {name: attempt.write(blobs.add, made.folder / name) for name in sorted(PEFT_FILES)}
    attempt.say(f"It recognises {100 * made.facts['recall']:.0f} % of the held-out real inputs")
    attempt.write(
        keep_discriminator, job=job, version=row.version, files=files, facts=made.facts, environment=worker.environment
    )
    shutil.rmtree(work, ignore_errors=True)


def _real(attempt: Attempt, worker: Worker, recipe: DiscriminatorRecipe) -> list[dict]:
    datasets = inputs_of(attempt.job, DATASET)
    return dataset_rows(attempt, worker, datasets[0], recipe.split) if datasets else private_rows(attempt, REAL)


HOME = WorkerKind(recipe=DiscriminatorRecipe, run=discriminate, work="discriminator")
