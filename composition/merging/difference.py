"""Differences of updates: one minus others, and one without what lies in the directions of others.

    subtract    ΔW' = w_1 ΔW_1 − Σ_{i>1} w_i ΔW_i      (task negation: Ilharco et al., 2023, arXiv:2212.04089)
    orthogonal  ΔW' = (I − P_B) ΔW_1 (I − P_A),   P_B onto the columns of all B_i, P_A onto the rows of all A_i, i > 1
       update:  ΔW' = ΔW_1 − Σ_{i>1} c_i ΔW_i, c the least squares: ⟨ΔW', ΔW_i⟩ = 0

Both are exact in the adapters' cores; the result is cut to rank k where the recipe says so. Two versions of one adapter
are adapters as any others: `subtract` of them is what the later one learned.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from composition.merging.core.cores import Cores
from composition.merging.core.merge import merge_cores
from composition.merging.diagnostics import MergeResult
from composition.progress import Progress, ignore
from composition.recipes.merge.difference import OrthogonalRecipe, SubtractRecipe
from composition.weights import LazyFactors, LoraWeights

ZERO = 1e-10
"""A direction of a factor below this share of its strongest is rounding, and spans nothing."""


def subtract(adapters: Sequence[LoraWeights], recipe: SubtractRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, subtract_core, said="Subtracted", progress=progress)


def orthogonal(
    adapters: Sequence[LoraWeights], recipe: OrthogonalRecipe, *, progress: Progress = ignore
) -> MergeResult:
    """Of the first adapter's modules. Raises CompositionError as `subtract` does."""
    first, *others = adapters
    within = [first, *(_within(other, first) for other in others)]
    return merge_cores(within, recipe, orthogonal_core, said="Projected", progress=progress)


def _within(adapter: LoraWeights, first: LoraWeights) -> LoraWeights:
    """The adapter's modules that `first` has too."""
    shared = {
        module: LazyFactors(
            adapter.module_facts(module), adapter.module_dtype(module), partial(adapter.__getitem__, module)
        )
        for module in adapter
        if module in first
    }
    return LoraWeights(
        shared,
        base_model=adapter.base_model,
        name=adapter.name,
        task_type=adapter.task_type,
        target_modules=adapter.target_modules,
        fan_in_fan_out=adapter.fan_in_fan_out,
    )


def subtract_core(cores: Cores, recipe: SubtractRecipe) -> Tensor:
    """[p, q]: the core of the difference."""
    aim = recipe.aim(len(cores.ranks))
    assert aim is not None
    return cores.whole(aim)


def orthogonal_core(cores: Cores, recipe: OrthogonalRecipe) -> Tensor:
    """[p, q]: the core of the first update without the others' directions."""
    own = cores.spans[0]
    update = cores.left[:, own] @ cores.right[own]
    others = [place for place in cores.present if place]
    if not others:
        return update
    if recipe.part == "update":
        flat = cores.updates()[others].flatten(1)
        along = torch.linalg.lstsq(flat @ flat.mT, flat @ update.flatten(), driver="gelsd").solution
        return update - (along @ flat).view(update.shape)
    rest = slice(own.stop, None)
    if recipe.part in ("both", "outputs"):
        basis = _span(cores.left[:, rest])
        update = update - basis @ (basis.mT @ update)
    if recipe.part in ("both", "inputs"):
        basis = _span(cores.right[rest].mT)
        update = update - (update @ basis) @ basis.mT
    return update


def _span(columns: Tensor) -> Tensor:
    """Q [d, m] orthonormal of the space that columns [d, R] span."""
    u, values, _ = torch.linalg.svd(columns, full_matrices=False)
    return u[:, values > ZERO * values[:1]]
