"""The end of every job that makes a version: SAVING, the card, the bytes into the store, then one transaction."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from hub import queries
from hub.models import State, Version
from hub.services.content.manifest import CARD
from hub.services.jobs.results import Beside, publish_result
from hub.storage import blobs
from workers.attempt import Attempt
from workers.cards import servers_section
from workers.telling import Telling
from workers.worker import Worker


def result_folder(worker: Worker) -> AbstractContextManager[Path]:
    """A folder for a result, removed afterwards.

    It is inside the cache's root, so files can be linked into a local store, and what a killed worker leaves is swept.
    """
    return worker.cache.unfinished()


def _tell(path: Path, telling: Telling) -> None:
    """Take names that have become private since the work began out of a file such as a mixture's config."""
    text = path.read_text(encoding="utf-8")
    given = json.loads(text)
    if telling.json(given) != given:
        path.write_text(json.dumps(telling.json(given), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def publish_folder(
    attempt: Attempt,
    worker: Worker,
    folder: Path,
    *,
    card: str,
    parents: Sequence[Version],
    origin: str,
    message: str,
    report: dict[str, Any],
    beside: Callable[[], Sequence[Beside]] = tuple,
) -> Version:
    """Publish the files of `folder` with this card as the job's result, and end the job. Raises LostLease.

    The report is for all who see the result, so it loses the texts of the job's private files. `beside` stores what is
    kept with the result, once nobody can cancel any more.
    """
    attempt.advance(State.SAVING)
    telling, job = attempt.telling, attempt.job
    card += servers_section(folder, job.base.shapes if job.base else None, job.output_path)
    (folder / CARD).write_text(telling.text(card), encoding="utf-8")
    for path in folder.glob("*.json"):
        _tell(path, telling)
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    files = {path.name: attempt.write(blobs.add, path, link=True) for path in paths}
    return attempt.write(
        publish_result,
        job=attempt.job,
        files=files,
        parents=parents,
        origin=origin,
        message=telling.text(message),
        report=telling.json(queries.without_private(report)),
        environment=worker.environment,
        beside=attempt.write(beside),
    )
