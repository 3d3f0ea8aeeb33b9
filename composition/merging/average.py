"""Rank-wise average: the j-th rank of the result is the mean of the adapters' j-th ranks, A and B separately.

    A' = Σ |w_i| √|s_i| A_i,    B' = Σ ± w_i √|s_i| B_i,    w_i = 1/n where the recipe gives none

This is what averaging state dicts does, and PEFT's `linear` up to its weights. It is not the average of ΔW: the
product has cross terms b_i a_jᵀ, which are harmless only where the adapters' ranks stand for the same directions
(trained from one random start). Equal adapters give themselves. A module that an adapter lacks counts as zero there.
"""

from collections.abc import Sequence

import torch

from composition.merging import diagnostics
from composition.merging.diagnostics import MergeResult
from composition.merging.gram import grams
from composition.merging.units import groups, module_names
from composition.progress import Progress, ignore
from composition.recipes import AverageRecipe
from composition.weights import Factors, LazyFactors, LoraWeights

__all__ = ["AverageRecipe", "average"]


def average(adapters: Sequence[LoraWeights], recipe: AverageRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Average A and B rank by rank. Raises CompositionError for unequal ranks, naming adapters and module."""
    report = diagnostics.begin(adapters, recipe)
    weights = recipe.weights or (1 / len(adapters),) * len(adapters)
    dtype = diagnostics.result_dtype(adapters, recipe)
    modules: dict[str, Factors | LazyFactors] = {}
    total = len(module_names(adapters))
    for group in groups(adapters):
        rank = max(group[0].ranks)
        each = group[0].scatter(weights)
        same_rank = torch.eye(rank, dtype=torch.float64).repeat(group[0].count // rank, 1)  # [R, r]
        left, right = same_rank * each[:, None], (same_rank * each.abs()[:, None]).mT
        for units in group:
            B, A = units.combine(left, right)
            modules[units.module] = diagnostics.cast_factors(units.module, A, B, dtype)
        report.add(
            group,
            grams(group, report.names, exact=True),
            left.expand(len(group), -1, -1),
            right.expand(len(group), -1, -1),
        )
        progress(len(modules) / total, f"Averaged {len(modules)} of {total} modules")
    return MergeResult(diagnostics.assemble(adapters, modules), report.to_dict())
