"""Scaling: one adapter in, the same one stronger or weaker out. A toy."""

from composition.recipes.scale import ScaleRecipe
from hub.errors import Invalid
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import JobKind

STRONG = 4.0


class Scale(JobKind):
    """The result stands beside its source, never in its place."""

    recipe = ScaleRecipe

    def check(self, draft: Draft) -> None:
        super().check(draft)
        (version,) = draft.request.adapters
        source = version.repository
        if draft.request.output == (source.namespace.name, source.name):
            raise Invalid(
                f"The result would be the next version of {source.full_name}, its own source; choose another name.",
                field="output",
            )

    def cost(self, draft: Draft) -> dict[str, object]:
        return {**super().cost(draft), "bytes": draft.request.adapters[0].facts["bytes"]}

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        if abs(draft.recipe.factor) > STRONG:
            return [f"A factor of {draft.recipe.factor:g} may drown the base; measure the result."]
        return []


HOME = Scale()
