"""A comparison of merges: the Grams of all pairs, kept or made, then the methods judged on them."""

from functools import cache

from composition.facts import AdapterFacts
from composition.recipes.compare import CompareRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import State
from hub.services.jobs.results import keep_outcome
from workers.attempt import Attempt
from workers.derived.grams import kept_pairs, make_pairs
from workers.inputs import adapter_of, inputs_of, versions
from workers.kinds import WorkerKind
from workers.telling import public_names
from workers.worker import Worker

MULTIPLYING = 0.5
"""The share of the bar for making Grams."""


def compare(attempt: Attempt, worker: Worker) -> None:
    """Compare the methods on the job's adapters and keep the report with the job."""
    from composition.merging.compare.judge import Compared

    job, method = attempt.job, METHODS[attempt.job.kind]
    recipe, rows = recipe_from_dict(job.recipe), inputs_of(job)
    names = public_names(job, versions(rows))
    known = kept_pairs(worker, rows)
    attempt.advance(State.RUNNING)
    wanted = len(rows) * (len(rows) + 1) // 2
    attempt.say(f"{len(known)} of {wanted} pairs of adapters were multiplied before")
    pairs = make_pairs(attempt, worker, rows, names, known, lambda f, text: attempt.progress(MULTIPLYING * f, text))
    facts = [AdapterFacts.from_dict(row.version.facts) for row in rows]
    named = list(zip(rows, names, strict=True))
    report = method.load()(
        Compared(list(zip(names, facts, strict=True)), pairs),
        recipe,
        read=cache(lambda: [adapter_of(attempt, worker, row, name) for row, name in named]),
        progress=lambda f, text: attempt.progress(MULTIPLYING + (1 - MULTIPLYING) * f, text),
    )
    for sentence in report["sentences"]:
        attempt.say(sentence)
    attempt.advance(State.SAVING)
    outcome = attempt.telling.json(report)
    attempt.write(keep_outcome, job=job, outcome=outcome, environment=worker.environment)


HOME = WorkerKind(recipe=CompareRecipe, run=compare)
