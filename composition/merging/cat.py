"""Concatenation: stack the adapters' units, and ΔW' = Σ w_i ΔW_i exactly, at rank Σr.

A' = [√|w_1 s_1| A_1; ...], B' = [±√|w_1 s_1| B_1, ...]. Weights default to 1 each: the outputs of the adapters add up.
The result's modules are made when they are read, so that saving it holds one module.
"""

from collections.abc import Sequence
from functools import partial

import torch

from composition.facts import ModuleFacts
from composition.merging import diagnostics
from composition.merging.diagnostics import MergeResult
from composition.merging.gram import grams
from composition.merging.units import groups, module_names, pool
from composition.progress import Progress, ignore
from composition.recipes import CatRecipe, MergeRecipe
from composition.weights import Factors, LazyFactors, LoraWeights

__all__ = ["CatRecipe", "cat"]


def cat(adapters: Sequence[LoraWeights], recipe: CatRecipe, *, progress: Progress = ignore) -> MergeResult:
    """The exact weighted sum. Raises CompositionError where the adapters don't fit each other or are not finite."""
    return stack(adapters, recipe, recipe.weights or (1.0,) * len(adapters), progress=progress)


def stack(
    adapters: Sequence[LoraWeights], recipe: MergeRecipe, weights: Sequence[float], *, progress: Progress = ignore
) -> MergeResult:
    """The exact sum with these weights, for a recipe that says what else is asked. Raises CompositionError as `cat`."""
    report = diagnostics.begin(adapters, recipe)
    dtype = diagnostics.result_dtype(adapters, recipe)
    modules: dict[str, Factors | LazyFactors] = {}
    total = len(module_names(adapters))
    for group in groups(adapters):
        count = group[0].count
        left = torch.diag(group[0].scatter(weights)).expand(len(group), -1, -1)
        report.add(group, grams(group, report.names), left, torch.eye(count).double().expand(len(group), -1, -1))
        for units in group:
            load = partial(_stack, adapters, units.module, weights, dtype)
            facts = ModuleFacts(r=count, in_features=units.in_features, out_features=units.out_features, scale=1.0)
            modules[units.module] = LazyFactors(facts, dtype, load)
        progress(len(modules) / total, f"Stacked {len(modules)} of {total} modules")
    return MergeResult(diagnostics.assemble(adapters, modules), report.to_dict())


def _stack(adapters: Sequence[LoraWeights], module: str, weights: Sequence[float], dtype: torch.dtype) -> Factors:
    units = pool(adapters, module)
    each = units.scatter(weights)
    A, B = units.stacked()
    return diagnostics.cast_factors(module, A * each.abs().sqrt()[:, None], B * each.abs().sqrt() * each.sign(), dtype)
