"""Merging: adapters of one base become one, from their files alone."""

from collections.abc import Mapping
from dataclasses import replace

from composition.facts import AdapterFacts, ModuleFacts
from composition.formats.peft.layouts.choosing import AUTO, written
from composition.recipes import MergeRecipe, Recipe
from composition.recipes.method import Method
from hub.models import Version
from hub.services.base_families import other_base
from hub.services.jobs.draft import Draft
from hub.services.jobs.kinds.base import BYTES_READ, ITEMSIZE, SECONDS_TO_START, unfit_facts
from hub.services.jobs.kinds.combining import Combining

# Rough, for one core, measured on merges of 8B-shaped adapters; good to a factor of 3.
FLOPS = 2e10
SECONDS_A_MODULE = 0.005


class Merge(Combining):
    """Any number of plain LoRAs of one base in, one LoRA out."""

    recipe = MergeRecipe
    again_at = "merge"

    def misfit(self, method: Method, first: Version, version: Version, recipe: Recipe | None = None) -> str:
        across = bool(recipe and recipe.across_quantisations)
        return other_base(first, version, across=across) or unfit_facts(first, version, method, recipe)

    def cost(self, draft: Draft) -> dict[str, object]:
        facts = [AdapterFacts.from_dict(version.facts) for version in draft.request.adapters]
        ranks = draft.recipe.output_ranks(self.facts(draft.request))
        shapes = {name: module for fact in facts for name, module in fact.modules.items()}
        pooled = {name: sum(f.modules[name].r for f in facts if name in f.modules) for name in shapes}
        widths = {name: module.in_features + module.out_features for name, module in shapes.items()}
        _, made = self._results(draft)
        size = sum(fact.r * (fact.in_features + fact.out_features) for fact in made.values())
        size *= ITEMSIZE.get(draft.recipe.dtype, 4)
        held = {name: sum(name in fact.modules for fact in facts) for name in shapes}
        flops = sum(draft.recipe.flops(shape, pooled[name], held[name]) for name, shape in shapes.items())
        read = sum(fact.bytes for fact in facts)
        seconds = SECONDS_TO_START + flops / FLOPS + read / BYTES_READ + len(shapes) * SECONDS_A_MODULE
        memory = max((pooled[name] * widths[name] * 8 + pooled[name] ** 2 * 32 for name in shapes), default=0)
        return {
            "ranks": ranks,
            "rank": max(ranks.values(), default=0),
            "bytes": size,
            "seconds": round(seconds, 1),
            "memory": memory,
        }

    def notes(self, draft: Draft, visibility: str) -> list[str]:
        if draft.problems or draft.recipe.layout != AUTO:
            return []
        compact, made = self._results(draft)
        if made is compact:
            return []
        rank = max(fact.r for fact in made.values())
        return [
            f"It is written in the uniform form, at rank {rank}, because some inference servers would misread the "
            "compact one. layout=compact keeps it small."
        ]

    def _results(self, draft: Draft) -> tuple[Mapping[str, ModuleFacts], Mapping[str, ModuleFacts]]:
        """The result's modules: compact, and as its layout writes them. A scale is taken for 1, as most merges have."""
        inputs = self.facts(draft.request)
        shapes = {name: module for _, fact in inputs for name, module in fact.modules.items()}
        compact = {n: replace(shapes[n], r=r, scale=1.0) for n, r in draft.recipe.output_ranks(inputs).items()}
        base = draft.request.adapters[0].base if compact else None
        return compact, written(compact, draft.recipe.layout, base.shapes if base else None) if compact else compact


HOME = Merge()
