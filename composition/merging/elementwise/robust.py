"""RobustMerge (Zeng et al., NeurIPS 2025, arXiv:2502.17159): trim A and B, make up for it rank by rank, add up.

    Ā_i, B̄_i = the largest numbers of each,   s_i[j] = ‖A_i[j]‖₁ / ‖Ā_i[j]‖₁, raised to what the strongest ranks have
    A' = λ Σ_i c_i Ā_i,   B'[:, j] = λ Σ_i c_i s_i[j] B̄_i[:, j] / Σ_i s_i[j],   c_i = ± √|w_i α_i|

α_i is an adapter's scale. The details are those of the authors' code (AuroraZengfh/RobustMerge), which merges adapters
of one scale: it keeps N − ⌊N (1 − density)⌋ + 1 of N numbers, and adds up A without a norm. The result depends on how
an adapter splits its ΔW into A and B.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from composition.merging.diagnostics import MergeResult, Report
from composition.merging.elements import largest
from composition.merging.elementwise.factors import halves
from composition.merging.elementwise.merge import weights_of
from composition.merging.units import Units, check_finite
from composition.merging.walk import Merged, walk
from composition.progress import Progress, ignore
from composition.recipes.merge.robust import RobustMergeRecipe
from composition.weights import LoraWeights


def robust_merge(
    adapters: Sequence[LoraWeights], recipe: RobustMergeRecipe, *, progress: Progress = ignore
) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return walk(adapters, recipe, _merge, said="Merged", progress=progress)


def _merge(group: list[Units], recipe: RobustMergeRecipe, report: Report) -> Merged:
    for units in group:
        check_finite(units, report.names)
        weights = weights_of(recipe, units, 1.0)
        A, B, scales = halves(units, balanced=recipe.balanced)
        strength = weights * scales
        root = strength.abs().sqrt()
        kept_a, kept_b = _trim(A, recipe.density), _trim(B, recipe.density)
        by = _raised(_ratio(A.abs().sum(2), kept_a.abs().sum(2)), recipe.top)  # [n, r]
        merged_a = recipe.scale * ((root * strength.sign()).float()[:, None, None] * kept_a).sum(0)
        merged_b = recipe.scale * (root.float()[:, None, None] * by[:, None] * kept_b).sum(0) / by.sum(0)
        report.measure(units, merged_a, merged_b)
        yield units, merged_a, merged_b


def _trim(halves: Tensor, density: float) -> Tensor:
    size = halves[0].numel()
    keep = min(size, size - int(size * (1 - density)) + 1)
    return torch.stack([half * largest(half.abs(), keep) for half in halves])


def _ratio(whole: Tensor, kept: Tensor) -> Tensor:
    """[n, r]: what a rank had over what it kept; 1 where it kept nothing."""
    return torch.where(kept > 0, whole / kept, 1.0)


def _raised(by: Tensor, top: float) -> Tensor:
    """[n, r]: at least the lowest of the largest share `top` of each row."""
    rank = by.shape[1]
    return torch.maximum(by, by.sort(1).values[:, min(int(rank * (1 - top)), rank - 1), None])
