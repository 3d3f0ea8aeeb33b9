"""A merge: read the adapters, call the method, write a PEFT folder, publish."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from composition.recipes import MergeRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import Origin, State, Version
from workers.attempt import Attempt
from workers.cards import merge_card
from workers.inputs import adapter_of, inputs_of, versions
from workers.kinds import WorkerKind
from workers.publishing import publish_folder, result_folder
from workers.telling import public_names
from workers.worker import Worker

if TYPE_CHECKING:
    from composition.merging.diagnostics import MergeResult


def merge(attempt: Attempt, worker: Worker) -> None:
    """Merge the job's adapters into one. Raises what the method refuses, and LostLease when the attempt is over."""
    job, method = attempt.job, METHODS[attempt.job.kind]
    recipe, rows = recipe_from_dict(job.recipe), inputs_of(job)
    parents = versions(rows)
    names = public_names(job, parents)
    adapters = [adapter_of(attempt, worker, row, name) for row, name in zip(rows, names, strict=True)]
    function = method.load()

    attempt.advance(State.RUNNING)
    attempt.say(f"{method.label} of {len(adapters)} adapters")
    result = function(adapters, recipe, progress=attempt.progress)
    publish_merged(attempt, worker, recipe, result, parents)


def publish_merged(
    attempt: Attempt,
    worker: Worker,
    recipe: MergeRecipe,
    result: "MergeResult",
    parents: Sequence[Version],
    data: Sequence[Version] = (),
) -> None:
    """Publish what a merge of `parents`, by `data` where it read any, has made."""
    from composition.weights import save_peft

    job, method = attempt.job, METHODS[attempt.job.kind]
    names = public_names(job, parents)
    for warning in result.report.get("warnings", []):
        attempt.say(f"Warning: {warning}")
    with result_folder(worker) as folder:
        save_peft(result.weights, folder, base_model=job.base.name, layout=recipe.layout, base_shapes=job.base.shapes)
        publish_folder(
            attempt,
            worker,
            folder,
            card=merge_card(job, method, parents, names, result.report, data),
            parents=[*parents, *data],
            origin=Origin.MERGED,
            message=f"{method.label} of {', '.join(names)}",
            report=result.report,
        )


HOME = WorkerKind(recipe=MergeRecipe, run=merge)
