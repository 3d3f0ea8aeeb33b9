"""A search of merges: candidates are made in memory, measured on the datasets and dropped, round by round.

The base is loaded once, and each adapter's text is read once, for all candidates that read any; a row that was read is
not measured on. What was measured is in the worker's cache, candidate by candidate, so that a search that was killed
goes on. The job's answer is a table; a candidate is published by a merge job of its recipe.
"""

import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from composition.errors import CompositionError
from composition.facts import AdapterFacts
from composition.judging.candidates import exact_mean, label_of, planned, reads_text
from composition.judging.figures import Figures, Task
from composition.judging.loss import BASE, INPUT, MEAN, called
from composition.judging.search import search
from composition.progress import share_of
from composition.recipes import MergeSearchRecipe, Recipe
from composition.registry import recipe_from_dict
from hub.models import DATASET, JobInput, State, Version
from hub.services.jobs.results import keep_outcome
from workers.attempt import Attempt
from workers.inputs import dataset_rows, inputs_of
from workers.judging.bench import Bench, Model
from workers.judging.store import FiguresOnDisk
from workers.kinds import WorkerKind, work_folder
from workers.kinds.calibrated import keeping
from workers.worker import Worker

Arms = dict[str, Callable[[], AbstractContextManager[Model]]]
Row = dict[str, Any]
READING = 0.1
"""The share of the bar for reading text, where a candidate does."""
RIGHT = {"exact_match": "exact_match", "choice": "choice_right"}


def merge_search(attempt: Attempt, worker: Worker) -> None:
    """Search, and keep the table. Raises what the methods refuse, and LostLease when the attempt is over."""
    job, recipe = attempt.job, recipe_from_dict(attempt.job.recipe)
    rows, data = inputs_of(job), inputs_of(job, DATASET)
    inputs = [(str(row.version), AdapterFacts.from_dict(row.version.facts)) for row in rows]
    plan, reading = planned(recipe, inputs, [row.version.facts for row in data])
    splits = [split for split, _ in reading.judged]
    found = {f"{number}": one for number, one in enumerate(plan.candidates)}
    reader = next((one for one in found.values() if reads_text(one)), None)
    places = reading.text.places if reading.text else ()
    texts = [dataset_rows(attempt, worker, data[place], reader.split) for place in places]
    text = {"data": texts, "keep": keeping(attempt, worker)}
    bench = Bench(attempt, worker, [recipe.evaluation(split) for split in splits], text)
    bench.rows = [unread(task, texts, reader, row.version) for task, row in zip(bench.rows, data, strict=False)]
    for task in bench.rows:
        random.Random(recipe.seed).shuffle(task)
    beside = _beside(bench, rows)
    arms: Arms = {name: lambda one=one: bench.merged(one, rows) for name, one in found.items()} | beside
    labels = {name: label_of(one) for name, one in found.items()}

    def measure(arm: str, begin: int, end: int) -> Figures:
        results, ready = bench.measure(arms[arm](), begin, end)
        return Figures([_task(result, recipe.metric) for result in results], ready)

    attempt.advance(State.RUNNING)
    attempt.say(f"{len(found)} candidates on {len(splits)} datasets")
    work = work_folder(worker, job)
    if reader:
        bench.merge(reader, rows, share_of(attempt.progress, 0.0, READING))
    table = search(
        {name: max(one.output_ranks(inputs).values()) for name, one in found.items()},
        [len(task) for task in bench.rows],
        recipe,
        measure,
        beside=list(beside),
        kept=FiguresOnDisk(work),
        called=labels | {arm: called(arm) for arm in beside},
        progress=share_of(attempt.progress, READING, 1 - READING) if reader else attempt.progress,
    )
    for name, one in found.items():
        read = {"reads": list(places)} if reads_text(one) else {}
        table["arms"][name] |= {"label": labels[name], "recipe": one.to_dict(), **read}
    attempt.say(f"The best of {len(found)} is {labels[table['best']]}")
    attempt.advance(State.SAVING)
    outcome = {"search": {**table, "splits": splits, "metric": recipe.metric}}
    attempt.write(keep_outcome, job=job, outcome=outcome, environment=worker.environment)
    shutil.rmtree(work, ignore_errors=True)


def unread(task: list[Row], texts: Sequence[Sequence[Row]], reader: Recipe | None, dataset: Version) -> list[Row]:
    """The rows of a task that no candidate reads, also where a dataset has a row twice.

    CompositionError `search.all_read` where none is left.
    """
    if reader is None:
        return task
    from composition.merging.calibrated.texts import drawn

    read = {_same(row) for text in texts for row in drawn(text, reader)}
    left = [row for row in task if _same(row) not in read]
    if not left:
        raise CompositionError(
            "search.all_read",
            f"Every row of {dataset} to measure on is among the rows that RegMean reads. Give fewer rows of text, "
            "other datasets of text, or 0 rows to leave RegMean out.",
            dataset=str(dataset),
        )
    return left


def _same(row: Row) -> tuple[Any, Any]:
    """What makes two rows one; texts have no completion, and are the prompt."""
    return row.get("prompt", row.get("text")), row.get("completion")


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
