"""Rank-wise average: the j-th rank of the result is the mean of the adapters' j-th ranks, A and B separately.

    A' = Σ |w_i| √|s_i| A_i,    B' = Σ ± w_i √|s_i| B_i,    w_i = 1/n where the recipe gives none

This is what averaging state dicts does, and PEFT's `linear` up to its weights. It is not the average of ΔW: the
product has cross terms b_i a_jᵀ, which are harmless only where the adapters' ranks stand for the same directions
(trained from one random start). Equal adapters give themselves. A module that an adapter lacks counts as zero there.
"""

from collections.abc import Sequence

import torch

from composition.merging.diagnostics import MergeResult, Report
from composition.merging.gram import grams
from composition.merging.units import Units
from composition.merging.walk import Merged, shares, walk
from composition.progress import Progress, ignore
from composition.recipes import AverageRecipe
from composition.weights import LoraWeights

__all__ = ["AverageRecipe", "average"]


def average(adapters: Sequence[LoraWeights], recipe: AverageRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Average A and B rank by rank. Raises CompositionError for unequal ranks, naming adapters and module."""
    return walk(adapters, recipe, _average, said="Averaged", progress=progress)


def _average(group: list[Units], recipe: AverageRecipe, report: Report) -> Merged:
    first = group[0]
    rank = max(first.ranks)
    each = first.scatter(shares(recipe, len(first.ranks)))
    same_rank = torch.eye(rank, dtype=torch.float64).repeat(first.count // rank, 1)  # [R, r]
    left, right = same_rank * each[:, None], (same_rank * each.abs()[:, None]).mT
    gram = grams(group, report.names, exact=True)
    report.add(group, gram, left.expand(len(group), -1, -1), right.expand(len(group), -1, -1))
    for units in group:
        B, A = units.combine(left, right)
        yield units, A, B
