"""A merge with a little text: read the adapters and their data, run them on the base, merge, publish.

What was read of an adapter on a text is kept in the worker's cache under a digest of both, as private as the data in
it: another merge of the same takes it from there, and so does this one after a kill.
"""

import hashlib
from pathlib import Path

from composition.recipes.merge.calibrated import CalibratedRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import DATASET, State
from hub.services.content.manifest import canonical_json
from workers.attempt import Attempt
from workers.inputs import adapter_of, dataset_rows, inputs_of, versions
from workers.kinds import WorkerKind
from workers.kinds.merge import publish_merged
from workers.telling import public_names
from workers.worker import Worker


def calibrated(attempt: Attempt, worker: Worker) -> None:
    """Merge the job's adapters by its data. Raises what the method refuses, and LostLease when the attempt is over."""
    job, method = attempt.job, METHODS[attempt.job.kind]
    recipe, rows, data = recipe_from_dict(job.recipe), inputs_of(job), inputs_of(job, DATASET)
    names = public_names(job, versions(rows))
    adapters = [adapter_of(attempt, worker, row, name) for row, name in zip(rows, names, strict=True)]
    texts = [dataset_rows(attempt, worker, row, recipe.split) for row in data]
    model, tokenizer = worker.models.get(job.base, attempt.say)

    def keep(adapter: int, asked: str, fill) -> Path:
        known = {"adapter": rows[adapter].digest, "base": str(job.base), "asked": asked, "at": worker.environment}
        return worker.cache.made(hashlib.sha256(canonical_json(known)).hexdigest(), fill)

    attempt.advance(State.RUNNING)
    attempt.say(f"{method.label} of {len(adapters)} adapters")
    result = method.load()(
        adapters, recipe, model=model, tokenizer=tokenizer, data=texts, keep=keep, progress=attempt.progress
    )
    for told, name in zip(result.report["data"], public_names(job, versions(data)), strict=True):
        told["name"] = name
    publish_merged(attempt, worker, recipe, result, versions(rows), versions(data))


HOME = WorkerKind(recipe=CalibratedRecipe, run=calibrated)
