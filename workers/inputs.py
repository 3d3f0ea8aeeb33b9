"""A job's inputs in the form that methods take: folders, adapters, rows, and private files."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from composition.facts import AdapterFacts
from composition.formats import read_adapter
from composition.formats.dataset.seed_rows import read_seeds
from composition.weights import LoraWeights
from hub.models import ADAPTER, BaseModel, Job, JobInput, Version
from hub.services.content.manifest import Entry
from hub.services.jobs import files as job_files
from hub.services.known_bases import known_shapes
from hub.storage import blobs
from workers.attempt import Attempt
from workers.worker import Worker


def inputs_of(job: Job, role: str = ADAPTER) -> list[JobInput]:
    """The job's inputs of one role, in their order, with repositories loaded."""
    return list(job.inputs.filter(role=role).select_related("version__repository__namespace", "version__base"))


def versions(rows: Sequence[JobInput]) -> list[Version]:
    """The versions of these inputs."""
    return [row.version for row in rows]


def adapter_of(attempt: Attempt, worker: Worker, row: JobInput, name: str) -> LoraWeights:
    """An input adapter, with the name that the result may use for it."""
    attempt.say(f"Reading {row.version}")
    adapter = read_adapter(worker.input_folder(row), base=known_shapes(row.version.base))
    adapter.name = name
    return adapter


def dataset_rows(attempt: Attempt, worker: Worker, row: JobInput, split: str) -> list[dict]:
    """The rows of an input dataset's split."""
    rows = read_rows(worker.input_folder(row), split)
    attempt.say(f"{len(rows)} rows of {row.version}, split {split}")
    return rows


def read_rows(folder: Path, split: str) -> list[dict]:
    """The rows of the file whose stem is `split`."""
    (path,) = (path for path in sorted(folder.rglob("*.jsonl")) if path.stem == split)
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def replaces(version: Version) -> bool:
    """True for adapters that change the base's own weights when they are attached (PiSSA and similar)."""
    return any(need["code"] != "mixture" for need in AdapterFacts.from_dict(version.facts).needs_base)


def private_rows(attempt: Attempt, role: str) -> list[dict[str, Any]]:
    """The rows of one of the job's private files."""
    rows = read_seeds(private_bytes(attempt, role), what=role)
    attempt.say(f"{len(rows)} rows of {role}")
    return rows


def private_bytes(attempt: Attempt, role: str) -> bytes:
    """The bytes of the one private file of a role."""
    (entry,) = job_files.files_of(attempt.job, role).values()
    return stored_bytes(attempt, entry)


def stored_bytes(attempt: Attempt, entry: Entry) -> bytes:
    """The whole of a small file in the store; a store that is away is waited for."""
    return attempt.write(_read, entry)


def _read(entry: Entry) -> bytes:
    with blobs.open(entry.sha256) as stream:
        return stream.read()


def loader(
    attempt: Attempt, worker: Worker, base: BaseModel, precision: str = "float32", *, fresh: bool = False
) -> Callable[[], tuple[Any, Any]]:
    """A function that returns (model, tokenizer) of a base, from memory or from disk; with `fresh` always from disk."""

    def load() -> tuple[Any, Any]:
        if fresh:
            worker.models.drop(base)
        return worker.models.get(base, attempt.say, precision=precision)

    return load


def with_task(recipe: Any, row: JobInput) -> Any:
    """The recipe, with the adapter's name as its task if it names none."""
    if recipe.task.strip():
        return recipe
    return dataclasses.replace(recipe, task=row.version.repository.name.replace("-", " ").replace("_", " "))
