"""What a merge lost: every arm is measured on every dataset, but for what is known already.

New figures of stored versions and of the base become evaluations like any other, together with the end of the job; the
exact mean is made in memory, so its figures stay with the job. What was measured is in the worker's cache, arm by arm.
"""

import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from composition.judging import loss
from composition.judging.candidates import exact_mean
from composition.judging.figures import Figures, Task
from composition.recipes import EvaluateRecipe, MeasureMergeRecipe
from composition.registry import recipe_from_dict
from hub import queries
from hub.models import DATASET, BaseModel, Evaluation, JobInput, State, Version
from hub.services.evaluations import Measurement, record_measurements
from hub.services.jobs.kinds.measure_merge import inputs_of_merge
from workers.attempt import Attempt
from workers.inputs import inputs_of
from workers.judging.bench import Bench, Model
from workers.judging.store import Store
from workers.kinds import WorkerKind, work_folder
from workers.kinds.evaluate import hits_of
from workers.worker import Worker

Known = dict[str, Any]
"""What is known of an arm on one dataset: metrics, hits, rows, seconds; `new` where it was measured here."""


def measure_merge(attempt: Attempt, worker: Worker) -> None:
    """Measure the job's merge and what it came from, and keep the table. Raises LostLease when the attempt is over."""
    job, recipe = attempt.job, recipe_from_dict(attempt.job.recipe)
    merged, *inputs = inputs_of(job)
    datasets = [row.version for row in inputs_of(job, DATASET)]
    work = work_folder(worker, job)
    bench = Bench(attempt, worker, [recipe.evaluation()] * len(datasets))
    arms = _arms(merged, inputs)
    attempt.advance(State.RUNNING)
    known: dict[str, list[Known]] = {}
    for number, (arm, row) in enumerate(arms.items()):
        attempt.progress(number / len(arms), f"Measuring {loss.called(arm)}")
        known[arm] = _measure(bench, Store(work), arm, row, inputs, recipe, datasets)
    figures = {arm: Figures([_task(one, recipe) for one in found]) for arm, found in known.items()}
    verdict = loss.judge(figures, len(datasets))
    attempt.say(verdict["sentence"])
    attempt.advance(State.SAVING)
    attempt.write(
        record_measurements,
        job=job,
        outcome={"loss": verdict},
        measured=[one for arm, row in arms.items() for one in _new(arm, row, known[arm], datasets, job.base, recipe)],
        environment=worker.environment,
        device=str(worker.environment["device_name"]),
    )
    shutil.rmtree(work, ignore_errors=True)


def _arms(merged: JobInput, inputs: Sequence[JobInput]) -> dict[str, JobInput | None]:
    """arm → its version's row; None of the base and of the mean, which is there where all inputs are."""
    arms: dict[str, JobInput | None] = {loss.BASE: None}
    arms |= {f"{loss.INPUT}{number}": row for number, row in enumerate(inputs)}
    if [row.version for row in inputs] == inputs_of_merge(merged.version) and len(inputs) > 1:
        arms[loss.MEAN] = None
    return {**arms, loss.MERGED: merged}


def _measure(
    bench: Bench,
    store: Store,
    arm: str,
    row: JobInput | None,
    inputs: Sequence[JobInput],
    recipe: MeasureMergeRecipe,
    datasets: Sequence[Version],
) -> list[Known]:
    """The arm on each dataset: as an earlier attempt of the job, or an evaluation that is kept, has it, else anew."""
    if found := store.read(arm):
        return found
    kept = [None] * len(datasets)
    if arm != loss.MEAN:
        version, one = row and row.version, recipe.evaluation()
        kept = [queries.kept_evaluation(version, bench.base, dataset, one) for dataset in datasets]
    known = [_known(evaluation) if evaluation else None for evaluation in kept]
    if None in known:
        skip = [number for number, one in enumerate(known) if one is not None]
        results, _ = bench.measure(_model(bench, arm, row, inputs), skip=skip)
        known = [one or _measured(result) for one, result in zip(known, results, strict=True)]
    store.write(arm, known)
    return known


def _model(bench: Bench, arm: str, row: JobInput | None, inputs: Sequence[JobInput]) -> AbstractContextManager[Model]:
    if row is not None:
        return bench.stored(row)
    return bench.merged(exact_mean(len(inputs)), inputs) if arm == loss.MEAN else bench.bare()


def _known(row: Evaluation) -> Known:
    return {"metrics": row.metrics, "hits": row.hits, "rows": row.rows, "seconds": row.seconds, "new": False}


def _measured(result: Any) -> Known:
    found = {"metrics": result.metrics, "hits": hits_of(result.per_row), "rows": result.rows}
    return {**found, "seconds": result.seconds, "new": True}


def _task(one: Known, recipe: EvaluateRecipe) -> Task:
    """By the first metric that counts rows."""
    share = next((name for name in recipe.metrics if name in one["hits"]), "")
    nll = one["metrics"].get("nll")
    return Task(one["hits"].get(share, ""), *([nll], [1]) if nll is not None else ())


def _new(
    arm: str,
    row: JobInput | None,
    found: Sequence[Known],
    datasets: Sequence[Version],
    base: BaseModel,
    recipe: MeasureMergeRecipe,
) -> list[Measurement]:
    """What was measured here and belongs to a version of this base, or to the base itself."""
    if arm == loss.MEAN or (row is not None and row.version.base_id != base.pk):
        return []
    return [
        Measurement(
            version=row and row.version,
            dataset=dataset,
            recipe=recipe.evaluation().to_dict(),
            metrics=one["metrics"],
            hits=one["hits"],
            rows=one["rows"],
            seconds=one["seconds"],
        )
        for one, dataset in zip(found, datasets, strict=True)
        if one["new"]
    ]


HOME = WorkerKind(recipe=MeasureMergeRecipe, run=measure_merge, work="measure-merge")
