"""A merge with a little text: read the adapters and their data, run them on the base, merge, publish.

What was read of an adapter on a text is kept in the worker's cache under a digest of both, as private as the data in
it: another merge of the same takes it from there, and so does this one after a kill.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from composition.formats.dataset.seed_rows import read_seeds
from composition.recipes.merge.calibrated import CalibratedRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import DATASET, State, Version
from hub.models.companions import SEEDS
from hub.services.content.manifest import canonical_json
from hub.services.jobs import files as job_files
from workers.attempt import Attempt
from workers.inputs import adapter_of, dataset_rows, inputs_of, stored_bytes, versions
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
    texts = [dataset_rows(attempt, worker, row, recipe.split) for row in data] or seeds_of_each(attempt)
    model, tokenizer = worker.models.get(job.base, attempt.say)
    read = {"model": model, "tokenizer": tokenizer, "data": texts}

    attempt.advance(State.RUNNING)
    attempt.say(f"{method.label} of {len(adapters)} adapters")
    result = method.load()(adapters, recipe, **read, **place, progress=attempt.progress)
    if data:
        _name_data(result.report["read"], versions(data), public_names(job, versions(data)))
    else:
        _name_seeds(result.report["read"], names)
    publish_merged(attempt, worker, recipe, result, versions(rows), versions(data))


def _name_data(told: Sequence[dict[str, Any]], data: Sequence[Version], names: Sequence[str]) -> None:
    """Name what was read; of private data no digest stays, by which a guess of their texts could be proved."""
    hidden = any(name != str(version) for version, name in zip(data, names, strict=True))
    for row, name in zip(told, names, strict=True):
        row["name"] = name
        if hidden:
            del row["sha256"]


def seeds_of_each(attempt: Attempt) -> list[list[dict[str, Any]]]:
    """The rows of the seeds that the job reads, in the order of its adapters."""
    files = sorted(job_files.files_of(attempt.job, SEEDS).items(), key=lambda named: int(named[0].partition(".")[0]))
    found = []
    for place, (name, entry) in enumerate(files, 1):
        found.append(read_seeds(stored_bytes(attempt, entry), what=name))
        attempt.say(f"{len(found[-1])} rows of the seeds of adapter {place}")
    return found


def _name_seeds(told: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Say of what was read only whose seeds they are: these are private, and a digest proves a guess of them."""
    for row, name in zip(told, names, strict=True):
        row["name"] = f"seed examples of {name}"
        del row["sha256"]


HOME = WorkerKind(recipe=CalibratedRecipe, run=calibrated)
