"""A merge: read the adapters, call the method, write a PEFT folder and its card, publish."""

import tempfile
from pathlib import Path

from composition.formats import read_adapter
from composition.recipes import recipe_from_dict
from composition.registry import METHODS
from hub.models import Origin, State
from hub.services.jobs.check import named
from hub.services.jobs.results import publish_result
from hub.storage import blobs
from workers.attempt import Attempt
from workers.cache import PART
from workers.cards import merge_card, public_names
from workers.worker import Worker, inputs_of, versions


def merge(attempt: Attempt, worker: Worker) -> None:
    """Make one adapter of the job's. Raises what the method refuses, and LostLease when the attempt is over."""
    job, method = attempt.job, METHODS[attempt.job.kind]
    recipe = recipe_from_dict(job.recipe)
    rows = inputs_of(job, "adapter")
    parents = versions(rows)
    names = public_names(job, parents)
    adapters = []
    for row, name in zip(rows, names, strict=True):
        attempt.say(f"Reading {named(row.version)}")
        adapter = read_adapter(worker.input_folder(row))
        adapter.name = name
        adapters.append(adapter)
    function = method.load()

    attempt.advance(State.RUNNING)
    attempt.say(f"{method.label} of {len(adapters)} adapters")
    result = function(adapters, recipe, progress=attempt.progress)
    for warning in result.report.get("warnings", []):
        attempt.say(f"Warning: {warning}")

    attempt.advance(State.SAVING)
    from composition.weights import save_peft

    # Beside the cache: there, files can be linked into a local store, and a killed worker's rest is swept.
    with tempfile.TemporaryDirectory(prefix=PART, dir=worker.cache.root) as folder:
        save_peft(result.weights, folder, base_model=job.base.name)
        card = merge_card(job, method, parents, names, result.report)
        (Path(folder) / "README.md").write_text(card, encoding="utf-8")
        files = {path.name: blobs.add(path, link=True) for path in sorted(Path(folder).iterdir())}
    publish_result(
        job=job,
        files=files,
        parents=parents,
        origin=Origin.MERGED,
        message=f"{method.label} of {', '.join(names)}",
        report=result.report,
        environment=worker.environment,
    )
