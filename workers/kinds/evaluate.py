"""An evaluation: the base with an adapter attached, or alone, on one split of a dataset."""

from collections.abc import Iterator
from contextlib import contextmanager

from composition.recipes import EvaluateRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import DATASET, State
from hub.services.evaluations import record_evaluation
from workers.attempt import Attempt
from workers.inputs import dataset_rows, inputs_of, replaces
from workers.kinds import WorkerKind
from workers.worker import Worker


def evaluate(attempt: Attempt, worker: Worker) -> None:
    """Measure the job's adapter, or its bare base, and record the figures."""
    job, method = attempt.job, METHODS[attempt.job.kind]
    recipe = recipe_from_dict(job.recipe)
    (dataset,) = inputs_of(job, DATASET)
    rows = dataset_rows(attempt, worker, dataset, recipe.split)
    with _model(attempt, worker) as (model, tokenizer):
        attempt.advance(State.RUNNING)
        result = method.load()(model, tokenizer, rows, recipe, progress=attempt.progress)
    attempt.say(", ".join(f"{name} {value:.4g}" for name, value in result.metrics.items()))
    attempt.advance(State.SAVING)
    record_evaluation(
        job=job,
        attempt=job.attempt,
        metrics=result.metrics,
        rows=result.rows,
        hits=hits_of(result.per_row),
        seconds=result.seconds,
        environment=worker.environment,
        device=str(worker.environment["device_name"]),
    )


def hits_of(per_row: list[dict]) -> dict[str, str]:
    """{metric: one digit per row, in the dataset's order}, for metrics that every row has; 1 is right, 0 is wrong."""
    found = {}
    for metric, key in (("exact_match", "exact_match"), ("choice", "choice_right")):
        if per_row and all(key in row for row in per_row):
            found[metric] = "".join(str(int(row[key])) for row in per_row)
    return found


@contextmanager
def _model(attempt: Attempt, worker: Worker) -> Iterator[tuple]:
    """(model, tokenizer) of the job's base, with its adapter if it has one."""
    job = attempt.job
    adapters = inputs_of(job)
    if not adapters:
        yield worker.models.get(job.base, attempt.say)
        return
    version, replaces_base = adapters[0].version, replaces(adapters[0].version)
    folder = worker.input_folder(adapters[0])
    attempt.say(f"Attaching {version}")
    with worker.models.with_adapter(job.base, folder, replaces_base=replaces_base, say=attempt.say) as pair:
        yield pair


HOME = WorkerKind(recipe=EvaluateRecipe, run=evaluate)
