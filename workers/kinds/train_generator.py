"""Training a generator: datasets of text (or of context, question, answer) and a base in, a generator repository out.

The training's state is in the worker's cache under the job's number. After a kill, the worker or another one on the
same machine resumes from there and ends with the same bytes. Documents are read from the disk when a step needs them.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from composition.recipes import TrainGeneratorRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import DATASET, Origin, State
from hub.services.jobs.kinds.generate import GENERATOR
from hub.services.jobs.kinds.train_generator import splits_of
from workers import devices
from workers.attempt import Attempt
from workers.generative_cards import generator_card
from workers.inputs import inputs_of, read_rows, versions
from workers.kinds import WorkerKind, work_folder
from workers.models import checked_folder
from workers.publishing import publish_folder, result_folder
from workers.worker import Worker


def train(attempt: Attempt, worker: Worker) -> None:
    """Train and publish the job's generator. Raises what the method refuses, and LostLease when the attempt is over."""
    from composition.generative import save_generator

    job, recipe = attempt.job, recipe_from_dict(attempt.job.recipe)
    starts = inputs_of(job, GENERATOR)
    data = _data(attempt, worker, recipe.stage)
    work = work_folder(worker, job)

    generator = _trained(attempt, worker, recipe, data, work, worker.input_folder(starts[0]) if starts else None)
    parents = [*versions(starts), *versions(inputs_of(job, DATASET))]
    report = report_of(generator.config)
    with result_folder(worker) as folder:
        card = generator_card(job, METHODS[job.kind], parents, generator.config, report)
        save_generator(generator, folder, card=card)
        publish_folder(
            attempt,
            worker,
            folder,
            card=card,
            parents=parents,
            origin=Origin.TRAINED,
            message=f"Trained for {job.base} on {report['summary']['tokens']:,} tokens",
            report=report,
        )
    shutil.rmtree(work, ignore_errors=True)


def _trained(
    attempt: Attempt, worker: Worker, recipe: TrainGeneratorRecipe, data: Sequence[Any], work: Path, start: Path | None
) -> Any:
    """The trained generator, by this process or by one process per GPU."""
    from composition.generative import load_generator
    from composition.generative.replicated import train_replicated

    job, count = attempt.job, devices.processes()
    how: dict[str, Any] = {"base_model": job.base.name, "work": work, "progress": attempt.progress}
    if count > 1:
        folder = checked_folder(job.base, attempt.say)
        worker.models.drop(job.base)  # Every process loads its own.
        attempt.advance(State.RUNNING)
        return train_replicated(folder, recipe, data, processes=count, start=start, **how)
    model, tokenizer = worker.models.get(job.base, attempt.say)
    attempt.advance(State.RUNNING)
    try:
        begun = start and load_generator(start)
        return METHODS[job.kind].load()(model, tokenizer, recipe, data, start=begun, **how)
    except BaseException:
        # It is unknown what is hooked in the middle of a step; loading again is cheap.
        worker.models.drop(job.base)
        raise


def report_of(config: Any) -> dict[str, Any]:
    """What the page shows: the last figures, and the facts about the data."""
    training = config.training
    curve = training.get("curve") or []
    measured = [point for point in curve if "gap_completion" in point]
    last = (measured or curve or [{}])[-1]
    figures = {key: value for key, value in last.items() if key not in ("step", "tokens")}
    return {
        "method": "train-generator",
        "summary": {
            "steps": training.get("steps"),
            "tokens": training.get("tokens", 0),
            "documents": (training.get("data") or {}).get("documents"),
            "parameters": config.parameters,
            **figures,
        },
        "data": training.get("data") or {},
        "warnings": [],
    }


def _data(attempt: Attempt, worker: Worker, stage: str) -> Sequence[Any]:
    """The documents, or rows of questions, of all datasets in their order."""
    from composition.generative.segments import Documents

    paths, rows = [], []
    for row in inputs_of(attempt.job, DATASET):
        folder = worker.input_folder(row)
        for split in splits_of(row.version, stage):
            (path,) = (path for path in sorted(folder.rglob("*.jsonl")) if path.stem == split)
            paths.append(path)
            if stage == "questions":
                rows += read_rows(folder, split)
            attempt.say(f"{row.version.facts['splits'][split]:,} rows of {row.version}, split {split}")
    return rows if stage == "questions" else Documents(paths)


HOME = WorkerKind(recipe=TrainGeneratorRecipe, run=train, work="generator")
