"""Scaling: read the adapter, call the method, write a PEFT folder, publish. A toy."""

from composition.recipes.scale import ScaleRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import Origin, State
from workers.attempt import Attempt
from workers.cards import merge_card
from workers.inputs import adapter_of, inputs_of
from workers.kinds import WorkerKind
from workers.publishing import publish_folder, result_folder
from workers.telling import public_names
from workers.worker import Worker


def scale(attempt: Attempt, worker: Worker) -> None:
    """Scale the job's adapter. Raises LostLease when the attempt is over."""
    from composition.weights import save_peft

    job, method = attempt.job, METHODS[attempt.job.kind]
    (row,) = inputs_of(job)
    names = public_names(job, [row.version])
    adapter = adapter_of(attempt, worker, row, names[0])
    attempt.advance(State.RUNNING)
    result = method.load()(adapter, recipe_from_dict(job.recipe), progress=attempt.progress)
    with result_folder(worker) as folder:
        save_peft(result.weights, folder, base_model=job.base.name)
        publish_folder(
            attempt,
            worker,
            folder,
            card=merge_card(job, method, [row.version], names, result.report),
            parents=[row.version],
            origin=Origin.MERGED,
            message=f"{method.label} of {names[0]}",
            report=result.report,
        )


HOME = WorkerKind(recipe=ScaleRecipe, run=scale)
