"""An evaluation: the base with an adapter attached, or alone, on one split of a dataset."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from composition.facts import AdapterFacts
from composition.recipes import recipe_from_dict
from composition.registry import METHODS
from hub.models import State, Version
from hub.services.evaluations import record_evaluation
from hub.services.jobs.check import named
from workers.attempt import Attempt
from workers.worker import Worker, inputs_of


def evaluate(attempt: Attempt, worker: Worker) -> None:
    """Measure the job's adapter, or its bare base, and record the figures."""
    job, method = attempt.job, METHODS[attempt.job.kind]
    recipe = recipe_from_dict(job.recipe)
    (dataset,) = inputs_of(job, "dataset")
    rows = read_rows(worker.input_folder(dataset), recipe.split)
    attempt.say(f"{len(rows)} rows of {named(dataset.version)}, split {recipe.split}")
    with _model(attempt, worker) as (model, tokenizer):
        attempt.advance(State.RUNNING)
        result = method.load()(model, tokenizer, rows, recipe, progress=attempt.progress)
    attempt.say(", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items()))
    attempt.advance(State.SAVING)
    record_evaluation(
        job=job,
        attempt=job.attempt,
        metrics=result.metrics,
        rows=result.rows,
        hits=hits_of(result.per_row),
        seconds=result.seconds,
        environment=worker.environment,
        device=str(worker.environment["device_name"]),
    )


def read_rows(folder: Path, split: str) -> list[dict]:
    """The rows of the file whose stem is `split`."""
    (path,) = (path for path in sorted(folder.rglob("*.jsonl")) if path.stem == split)
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def replaces(version: Version) -> bool:
    """True for adapters that change the base's own weights where they are attached (PiSSA and kin)."""
    return any(need["code"] != "mixture" for need in AdapterFacts.from_dict(version.facts).needs_base)


def hits_of(per_row: list[dict]) -> dict[str, str]:
    """By metric that counts rows, a digit a row in the dataset's order; where not every row has it, it is left out."""
    found = {}
    for metric, key in (("exact_match", "exact_match"), ("choice", "choice_right")):
        if per_row and all(key in row for row in per_row):
            found[metric] = "".join(str(int(row[key])) for row in per_row)
    return found


@contextmanager
def _model(attempt: Attempt, worker: Worker) -> Iterator[tuple]:
    """(model, tokenizer) of the job's base, with its adapter if it has one."""
    job = attempt.job
    adapters = inputs_of(job, "adapter")
    if not adapters:
        yield worker.models.get(job.base, attempt.say)
        return
    version, replaces_base = adapters[0].version, replaces(adapters[0].version)
    folder = worker.input_folder(adapters[0])
    attempt.say(f"Attaching {named(version)}")
    with worker.models.with_adapter(job.base, folder, replaces_base=replaces_base, say=attempt.say) as pair:
        yield pair
