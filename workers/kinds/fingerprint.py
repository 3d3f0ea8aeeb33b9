"""A base's fingerprint: names and shapes of its weights, from its config alone, on the meta device."""

from composition.errors import CompositionError
from composition.recipes import FingerprintRecipe
from hub.models import State
from hub.services.jobs.results import keep_shapes
from hub.services.known_bases import set_shapes_error
from workers.attempt import Attempt
from workers.kinds import WorkerKind
from workers.worker import Worker


def fingerprint(attempt: Attempt, worker: Worker) -> None:
    """Read the shapes of the job's base and keep them; if they can't be read, keep the error with the base."""
    from composition.running.base_models import module_shapes, parameter_count, shape_fingerprint

    job = attempt.job
    attempt.advance(State.RUNNING)
    try:
        shapes = module_shapes(job.base.config)
    except CompositionError as error:
        attempt.check()
        set_shapes_error(base=job.base, error=attempt.telling.text(error.message))
        raise
    attempt.say(f"{job.base}: {len(shapes)} weights")
    attempt.advance(State.SAVING)
    attempt.write(
        keep_shapes,
        job=job,
        shapes=shapes,
        fingerprint=shape_fingerprint(shapes),
        parameters=parameter_count(job.base.config),
        environment=worker.environment,
    )


HOME = WorkerKind(recipe=FingerprintRecipe, run=fingerprint)
