"""A transfer between related bases without data: PortLLM, Cross-LoRA, LoRAM; from the weight files alone."""

import json
from typing import Any

from composition.recipes import ShortcutRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import JobInput, State
from hub.services.jobs.kinds.transfer_shortcuts import INDEX
from hub.services.known_bases import known_shapes
from workers.attempt import Attempt
from workers.inputs import inputs_of, private_bytes
from workers.kinds import WorkerKind
from workers.models import checked_folder
from workers.moved import publish_moved, read_source
from workers.publishing import result_folder
from workers.telling import public_names
from workers.worker import Worker


def transfer(attempt: Attempt, worker: Worker) -> None:
    """Move the job's adapter. Raises what the method refuses, and LostLease when the attempt is over."""
    from composition.formats import read_adapter
    from composition.weights import save_peft

    job, recipe = attempt.job, recipe_from_dict(attempt.job.recipe)
    (row,) = inputs_of(job)
    adapter = read_adapter(read_source(attempt, worker, row), base=known_shapes(row.version.base))
    adapter.name = public_names(job, [row.version])[0]
    given = _wanted(attempt, recipe, row)
    attempt.advance(State.RUNNING)
    function = METHODS[job.kind].load()
    result = function([adapter], recipe, base_name=job.base.name, **given, progress=attempt.progress)
    with result_folder(worker) as folder:
        save_peft(result.weights, folder, base_model=job.base.name, layout=recipe.layout, base_shapes=job.base.shapes)
        publish_moved(attempt, worker, row, folder, result.report)


def _wanted(attempt: Attempt, recipe: ShortcutRecipe, row: JobInput) -> dict[str, Any]:
    """What the recipe needs besides the adapter: shapes, an index map, both bases' weights."""
    job = attempt.job
    makers = {
        "shapes": lambda: {"shapes": job.base.shapes},
        "index": lambda: {"index": json.loads(private_bytes(attempt, INDEX))},
        "weights": lambda: {
            "source": checked_folder(row.version.base, attempt.say),
            "target": checked_folder(job.base, attempt.say),
        },
    }
    return {name: value for want in recipe.wants for name, value in makers[want]().items()}


HOME = WorkerKind(recipe=ShortcutRecipe, run=transfer)
