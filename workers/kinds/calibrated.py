"""A merge with a little text: read the adapters and their data, run them on the base, merge, publish.

What was read of an adapter on a text is kept in the worker's cache under a digest of both, as private as the data in
it: another merge of the same takes it from there, and so does this one after a kill.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from composition.recipes.merge.calibrated import CalibratedRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import DATASET, State, Version
from hub.services.content.manifest import canonical_json
from workers.attempt import Attempt
from workers.inputs import adapter_of, dataset_rows, inputs_of, versions
from workers.kinds import WorkerKind
from workers.kinds.merge import publish_merged
from workers.telling import public_names
from workers.worker import Worker


def calibrated(attempt: Attempt, worker: Worker) -> None:
    """Merge the job's adapters by its data. Raises what the method refuses, and LostLease when the attempt is over."""
    merge_with_data(attempt, worker, keep=keeping(attempt, worker))


def keeping(attempt: Attempt, worker: Worker) -> Callable[[int, str, Callable[[Path], None]], Path]:
    """Where what the job's adapters have read is kept, as `composition.merging.calibrated.kept.Keep` has it: the same
    folder for every job of this adapter, base, text and machine."""
    rows, base = inputs_of(attempt.job), str(attempt.job.base)

    def keep(adapter: int, asked: str, fill: Callable[[Path], None]) -> Path:
        known = {"adapter": rows[adapter].digest, "base": base, "asked": asked, "at": worker.environment}
        return worker.cache.made(hashlib.sha256(canonical_json(known)).hexdigest(), fill)

    return keep


def merge_with_data(attempt: Attempt, worker: Worker, **place: Any) -> None:
    """Read adapters, data and base, call the method with these and `place`, and publish what it makes."""
    job, method = attempt.job, METHODS[attempt.job.kind]
    recipe, rows, data = recipe_from_dict(job.recipe), inputs_of(job), inputs_of(job, DATASET)
    names = public_names(job, versions(rows))
    adapters = [adapter_of(attempt, worker, row, name) for row, name in zip(rows, names, strict=True)]
    texts = [dataset_rows(attempt, worker, row, recipe.split) for row in data]
    model, tokenizer = worker.models.get(job.base, attempt.say)
    read = {"model": model, "tokenizer": tokenizer, "data": texts}

    attempt.advance(State.RUNNING)
    attempt.say(f"{method.label} of {len(adapters)} adapters")
    result = method.load()(adapters, recipe, **read, **place, progress=attempt.progress)
    _name_data(result.report["read"], versions(data), public_names(job, versions(data)))
    publish_merged(attempt, worker, recipe, result, versions(rows), versions(data))


def _name_data(told: Sequence[dict[str, Any]], data: Sequence[Version], names: Sequence[str]) -> None:
    """Name what was read; of private data no digest stays, by which a guess of their texts could be proved."""
    hidden = any(name != str(version) for version, name in zip(data, names, strict=True))
    for row, name in zip(told, names, strict=True):
        row["name"] = name
        if hidden:
            del row["sha256"]


HOME = WorkerKind(recipe=CalibratedRecipe, run=calibrated)
