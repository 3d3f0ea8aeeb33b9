"""Merging by learnt coefficients: adapters of one base become one, by a small text for all of them."""

from composition.recipes.merge.learned import LearnedRecipe
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import parameters_of, speed_of
from hub.services.jobs.kinds.calibrated import FLOPS, TOKENS, CalibratedMerge, counts_of
from hub.services.jobs.kinds.merge import Merge


class LearnedMerge(CalibratedMerge):
    """Plain LoRAs of one base and a mixed text in; one LoRA out, as private as all these."""

    recipe = LearnedRecipe

    def cost(self, draft: Draft) -> dict[str, object]:
        """With reading rows, three forward passes for one that teaches."""
        recipe, told, parameters = draft.recipe, Merge.cost(self, draft), parameters_of(draft.base)
        rows = sum(min(recipe.rows, count) for count in counts_of(draft))
        read = recipe.rows_read(rows) * TOKENS * 2 * parameters / FLOPS / speed_of(draft.method)
        seconds = 5 + float(str(told["seconds"])) + read
        return {**told, "seconds": round(seconds, 1), "memory": int(parameters * 4 * 1.5)}

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        return Merge.notes(self, draft, visibility)


HOME = LearnedMerge()
