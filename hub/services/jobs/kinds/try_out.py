"""Trying an adapter: one prompt, answered with it and without; the answers stay with the job."""

from composition.recipes import TryRecipe
from hub.errors import Invalid
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import JobKind, parameters_of

# Rough, for one core in fp32, measured on a 135M base: floating-point operations a second.
FLOPS = 2e10


class TryOut(JobKind):
    """One adapter in, answers out; nothing is published."""

    recipe = TryRecipe
    seen_at = "try"
    makes = None
    awaited = True

    def check(self, draft: Draft) -> None:
        super().check(draft)
        (version,) = draft.request.adapters
        if version.base is None:
            raise Invalid(f"{version} belongs to no base this hub knows: push it with its base.", field="base")

    def answer_without_sight(self, outcome: dict) -> dict | None:
        """Without the experts' names, where the mixture can't be seen any more."""
        answers = {side: {**answer, "routing": None} for side, answer in outcome.get("answers", {}).items()}
        return {**outcome, "answers": answers}

    def cost(self, draft: Draft) -> dict[str, object]:
        parameters = parameters_of(draft.base)
        recipe = draft.recipe
        tokens = recipe.max_new_tokens * (1 + recipe.compare + bool(recipe.context))
        seconds = round(tokens * parameters * 2 / FLOPS, 1)
        return {"bytes": 0, "seconds": seconds, "memory": int(parameters * 4 * 1.3)}


HOME = TryOut()
