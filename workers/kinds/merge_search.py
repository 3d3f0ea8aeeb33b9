"""A search of merges: candidates are made in memory, measured on the datasets and dropped, round by round.

The base is loaded once. What was measured is in the worker's cache, candidate by candidate, so that a search that was
killed goes on. The job's answer is a table; a candidate is published by a merge job of its recipe.
"""

import random
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from composition.facts import AdapterFacts
from composition.judging.candidates import exact_mean, grid, label_of
from composition.judging.figures import Figures, Task
from composition.judging.loss import BASE, INPUT, MEAN, called
from composition.judging.search import search
from composition.recipes import MergeSearchRecipe
from composition.registry import recipe_from_dict
from hub.models import DATASET, JobInput, State
from hub.services.jobs.results import keep_outcome
from workers.attempt import Attempt
from workers.inputs import inputs_of
from workers.judging.bench import Bench, Model
from workers.judging.store import FiguresOnDisk
from workers.kinds import WorkerKind, work_folder
from workers.worker import Worker

Arms = dict[str, Callable[[], AbstractContextManager[Model]]]
RIGHT = {"exact_match": "exact_match", "choice": "choice_right"}


def merge_search(attempt: Attempt, worker: Worker) -> None:
    """Search, and keep the table. Raises what the methods refuse, and LostLease when the attempt is over."""
    job, recipe = attempt.job, recipe_from_dict(attempt.job.recipe)
    rows = inputs_of(job)
    inputs = [(str(row.version), AdapterFacts.from_dict(row.version.facts)) for row in rows]
    splits = [recipe.split_of(row.version.facts["splits"]) for row in inputs_of(job, DATASET)]
    bench = Bench(attempt, worker, [recipe.evaluation(split) for split in splits])
    for task in bench.rows:
        random.Random(recipe.seed).shuffle(task)
    found = {f"{number}": one for number, one in enumerate(grid(recipe, inputs).candidates)}
    beside = _beside(bench, rows)
    arms: Arms = {name: lambda one=one: bench.merged(one, rows) for name, one in found.items()} | beside
    labels = {name: label_of(one) for name, one in found.items()}

    def measure(arm: str, begin: int, end: int) -> Figures:
        results, ready = bench.measure(arms[arm](), begin, end)
        return Figures([_task(result, recipe.metric) for result in results], ready)

    attempt.advance(State.RUNNING)
    attempt.say(f"{len(found)} candidates on {len(splits)} datasets")
    work = work_folder(worker, job)
    table = search(
        {name: max(one.output_ranks(inputs).values()) for name, one in found.items()},
        [len(task) for task in bench.rows],
        recipe,
        measure,
        beside=list(beside),
        kept=FiguresOnDisk(work),
        called=labels | {arm: called(arm) for arm in beside},
        progress=attempt.progress,
    )
    for name, one in found.items():
        table["arms"][name] |= {"label": labels[name], "recipe": one.to_dict()}
    attempt.say(f"The best of {len(found)} is {labels[table['best']]}")
    attempt.advance(State.SAVING)
    outcome = {"search": {**table, "splits": splits, "metric": recipe.metric}}
    attempt.write(keep_outcome, job=job, outcome=outcome, environment=worker.environment)
    shutil.rmtree(work, ignore_errors=True)


def _beside(bench: Bench, rows: list[JobInput]) -> Arms:
    """What the candidates are compared with: the base, each input, the exact mean."""
    arms: Arms = {BASE: bench.bare}
    arms |= {f"{INPUT}{number}": lambda row=row: bench.stored(row) for number, row in enumerate(rows)}
    return arms | {MEAN: lambda: bench.merged(exact_mean(len(rows)), rows)}


def _task(result: Any, metric: str) -> Task:
    """A row without choices is wrong for every arm alike."""
    if result is None:
        return Task()
    return Task(
        hits="".join(str(int(row.get(RIGHT[metric], False))) for row in result.per_row),
        losses=[-row["log_p"] for row in result.per_row],
        tokens=[row["tokens"] for row in result.per_row],
    )


HOME = WorkerKind(recipe=MergeSearchRecipe, run=merge_search, work="merge-search")
