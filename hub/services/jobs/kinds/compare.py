"""Comparing merges: what each method would give of some adapters; the answer stays with the job."""

from composition.facts import AdapterFacts
from composition.recipes.compare import CompareRecipe
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import BYTES_READ, SECONDS_TO_START
from hub.services.jobs.kinds.merge import FLOPS, Merge

# Rough, for one core: what judging the methods on a module takes.
SECONDS_A_MODULE = 0.01


class Compare(Merge):
    """The adapters of a merge in, figures and sentences out; nothing is published."""

    recipe = CompareRecipe
    makes = None
    awaited = True
    again_at = ""
    names_inputs = True
    answer_page = "merge/comparison.html"

    def cost(self, draft: Draft) -> dict[str, object]:
        """As if no Gram were kept, with every pair to be multiplied."""
        facts = [AdapterFacts.from_dict(version.facts) for version in draft.request.adapters]
        widths = {name: m.in_features + m.out_features for fact in facts for name, m in fact.modules.items()}
        pooled = {name: sum(fact.modules[name].r for fact in facts if name in fact.modules) for name in widths}
        flops = sum(2 * widths[name] * pooled[name] ** 2 for name in widths)
        read = sum(fact.bytes for fact in facts)
        judging = min(draft.recipe.seconds, len(widths) * SECONDS_A_MODULE)
        seconds = SECONDS_TO_START + read / BYTES_READ + flops / FLOPS + judging
        memory = sum(8 * rank**2 for rank in pooled.values()) + max(pooled.values(), default=0) ** 2 * 8 * 64
        return {"bytes": 0, "seconds": round(seconds, 1), "memory": memory}

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        return []


HOME = Compare()
