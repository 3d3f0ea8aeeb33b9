"""A trial: one prompt is answered with an adapter, then without it; watchers see the answer token by token.

If a full text is given, the base answers a third time, side `text`, with that text before the prompt.
"""

import time

from composition.recipes import TryRecipe
from composition.registry import METHODS, recipe_from_dict
from hub.models import State
from hub.progress import publish_progress
from hub.services.jobs.results import keep_outcome
from workers.attempt import Attempt
from workers.devices import memory_used
from workers.inputs import inputs_of, replaces
from workers.kinds import WorkerKind
from workers.worker import Worker

SECONDS_A_TOKEN_EVENT = 0.04


def try_out(attempt: Attempt, worker: Worker) -> None:
    """Answer the job's prompt and keep the answers with the job."""
    from composition.running.try_out import check_length

    job, function = attempt.job, METHODS[attempt.job.kind].load()
    recipe = recipe_from_dict(job.recipe)
    (row,) = inputs_of(job)
    replaces_base = replaces(row.version)
    answers = {}

    def ask(side: str, model, tokenizer) -> None:
        voice, asked = Voice(attempt, side), recipe if side == "text" else recipe.bare()
        answers[side] = function(model, tokenizer, asked, hear=voice, progress=attempt.progress).to_dict()
        voice.flush()

    def ask_base(model, tokenizer) -> None:
        for side, wanted in (("without", recipe.compare), ("text", recipe.context)):
            if wanted:
                ask(side, model, tokenizer)

    folder = worker.input_folder(row)
    attempt.say(f"Attaching {row.version}")
    keep = {"replaces_base": replaces_base, "keep": row.digest, "say": attempt.say}
    with worker.models.with_adapter(job.base, folder, **keep) as pair:
        attempt.advance(State.RUNNING)
        check_length(*pair, recipe)
        ask("with", *pair)
        if not replaces_base:
            with pair[0].disable_adapter():
                ask_base(*pair)
    if replaces_base and (recipe.compare or recipe.context):
        ask_base(*worker.models.get(job.base, attempt.say))
    attempt.advance(State.SAVING)
    outcome = {"answers": answers, "memory": memory_used()}
    attempt.write(keep_outcome, job=job, outcome=outcome, environment=worker.environment)


class Voice:
    """Sends one side's pieces as events `token`, some 25 a second at most; raises when the attempt is over."""

    def __init__(self, attempt: Attempt, side: str) -> None:
        self.attempt, self.side = attempt, side
        self._waiting, self._tokens, self._last = "", 0, 0.0

    def __call__(self, piece: str, tokens: int) -> None:
        self.attempt.check()
        self._waiting, self._tokens = self._waiting + piece, tokens
        if self._waiting and time.monotonic() - self._last >= SECONDS_A_TOKEN_EVENT:
            self.flush()

    def flush(self) -> None:
        """Send the pieces not sent yet."""
        if self._waiting:
            where = {"side": self.side, "tokens": self._tokens, "attempt": self.attempt.job.attempt}
            publish_progress(self.attempt.job.pk, "token", text=self._waiting, **where)
        self._waiting, self._last = "", time.monotonic()


HOME = WorkerKind(recipe=TryRecipe, run=try_out)
