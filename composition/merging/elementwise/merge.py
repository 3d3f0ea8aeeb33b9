"""Magnitude pruning, TIES, DARE, DELLA and breadcrumbs on ΔW or on factors, and the linear merge of factors.

What each rule does stands in `composition.merging.elements` and `rules`; the spaces in `updates` and `factors`. The
functions are the same for every rule: its recipe says which it is.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from composition.merging.core.merge import retained, tell_cut
from composition.merging.diagnostics import MergeResult, Report
from composition.merging.elementwise.factors import merge_factors
from composition.merging.elementwise.updates import merge_updates
from composition.merging.units import Units, check_finite
from composition.merging.walk import Merged, walk
from composition.progress import Progress, ignore
from composition.recipes import MergeRecipe
from composition.recipes.merge.elementwise import BALANCED, UPDATE, ElementwiseRecipe, Leaving, LinearRecipe
from composition.weights import LoraWeights

RESIDUAL = 1e-3
"""A residual above this share of what is kept is told: the cut is then not quite the best one."""


def elementwise(
    adapters: Sequence[LoraWeights], recipe: ElementwiseRecipe, *, progress: Progress = ignore
) -> MergeResult:
    """The merge by the recipe's rule, in its space.

    Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite.
    """
    return walk(adapters, recipe, _merge, said="Merged", summary=_retained, progress=progress)


def linear(adapters: Sequence[LoraWeights], recipe: LinearRecipe, *, progress: Progress = ignore) -> MergeResult:
    """A' = Σ ±√|w_i s_i| A_i, B' = Σ √|w_i s_i| B_i. Raises CompositionError as `elementwise` does."""
    return walk(adapters, recipe, _linear, said="Added", progress=progress)


def _merge(group: list[Units], recipe: ElementwiseRecipe, report: Report) -> Merged:
    for units in group:
        check_finite(units, report.names)
        if recipe.space != UPDATE:
            weights = weights_of(recipe, units, 1.0 if recipe.election else len(units.ranks) ** -2)
            A, B = merge_factors(units, weights, recipe.leaving, recipe.election, balanced=recipe.space == BALANCED)
            root = abs(recipe.scale) ** 0.5
            A, B = A * root, B * (root if recipe.scale >= 0 else -root)
            report.measure(units, A, B)
        else:
            assert recipe.rank is not None
            weights = weights_of(recipe, units, 1.0 if recipe.election else 1 / len(units.ranks))
            k = min(recipe.rank, units.in_features, units.out_features)
            found = merge_updates(units, weights.float(), recipe, k)
            root_of = found.S.sqrt()
            A, B = (found.V * root_of).mT.float(), (found.U * root_of).float()
            row = report.measure(units, A, B)
            tell_cut(report, units.module, found.S, torch.tensor(found.square).sqrt())
            row["residual"], row["sweeps"] = found.residual, found.sweeps
        yield units, A, B


def _linear(group: list[Units], recipe: LinearRecipe, report: Report) -> Merged:
    for units in group:
        check_finite(units, report.names)
        weights = weights_of(recipe, units, len(units.ranks) ** -2)
        A, B = merge_factors(units, weights, Leaving(), None, balanced=recipe.balanced)
        report.measure(units, A, B)
        yield units, A, B


def weights_of(recipe: MergeRecipe, units: Units, default: float) -> Tensor:
    """[n] float64: the weights of the adapters that have the module."""
    weights = recipe.weights or (default,) * len(units.ranks)
    return torch.tensor([w for w, r in zip(weights, units.ranks, strict=True) if r], dtype=torch.float64)


def _retained(report: Report) -> dict[str, Any]:
    """What the cut keeps; nothing where nothing was cut."""
    if "kept" not in report.squares:
        return {}
    rough = [name for name, row in report.modules.items() if row["residual"] > RESIDUAL]
    if rough:
        report.warnings.append(
            f"The cut of {rough[0]}{f' and {len(rough) - 1} more modules' if len(rough) > 1 else ''} is not quite the "
            "best one: its singular values lie too close together. Another rank may part them."
        )
    return retained(report)
