"""Methods that need the weights themselves, tried on a few modules of the adapters."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.merging.compare.outlook import Outlook
from composition.merging.compare.spread import spread
from composition.recipes.compare import CompareRecipe
from composition.weights import LoraWeights

COMMON = ("error_sum", "error_mean", "kept_inputs", "balance")
MOST = 4e10
"""Floating-point operations that a method is tried with, by its own estimate; about two seconds of one core."""


def tried(one: Outlook, adapters: Sequence[LoraWeights], recipe: CompareRecipe, total: int) -> dict[str, Any]:
    """The method's row, from merging `recipe.sample` modules; its seconds are for all `total`."""
    everywhere = [module for module in sorted(adapters[0]) if all(module in adapter for adapter in adapters)]
    if not everywhere:
        return {**one.head(), "reason": "There is no module that all the adapters have, to try it on."}
    modules = _affordable(one, adapters, spread(everywhere), recipe.sample)
    if not modules:
        return {**one.head(), "reason": "Trying it on one module of these adapters takes too long here: merge to see."}
    few = [_restricted(adapter, modules) for adapter in adapters]
    start = time.process_time()
    try:
        result = one.method.load()(few, one.recipe)
    except CompositionError as error:
        return {**one.head(), "reason": error.message}
    seconds = time.process_time() - start
    summary = result.report["summary"]
    return {
        **one.head(),
        **{name: summary[name] for name in COMMON},
        "inside_inputs": [_inside(result.weights, adapter, modules) for adapter in few],
        "seconds": round(seconds * total / len(modules), 3),
        "judged_by": f"{len(modules)} modules",
    }


def _affordable(one: Outlook, adapters: Sequence[LoraWeights], modules: Sequence[str], count: int) -> list[str]:
    """The first `count` of the modules that the method can be tried on within `MOST`."""
    assert one.recipe is not None
    taken: list[str] = []
    spent = 0.0
    for module in modules:
        facts = [adapter.module_facts(module) for adapter in adapters]
        cost = one.recipe.flops(facts[0], sum(fact.r for fact in facts), len(facts))
        if len(taken) < count and spent + cost <= MOST:
            taken.append(module)
            spent += cost
    return taken


def _restricted(adapter: LoraWeights, modules: Sequence[str]) -> LoraWeights:
    return LoraWeights(
        {module: adapter[module] for module in modules},
        base_model=adapter.base_model,
        task_type=adapter.task_type,
        fan_in_fan_out=adapter.fan_in_fan_out,
        name=adapter.name,
    )


def _inside(result: LoraWeights, adapter: LoraWeights, modules: Sequence[str]) -> float | None:
    """The share of ‖ΔW‖² of an adapter that lies in the result's column and row spaces."""
    inside = own = 0.0
    for module in modules:
        f, made = adapter[module], result[module]
        B, A = abs(f.scale) * f.B.double(), f.A.double()
        own += float(((B.mT @ B) * (A @ A.mT)).sum())
        inside += float(((_basis(made.B).mT @ B) @ (A @ _basis(made.A.mT))).square().sum())
    return min(inside / own, 1.0) if own > 0 else None


def _basis(columns: Tensor) -> Tensor:
    """An orthonormal basis [d, k] of what the columns [d, r] span."""
    u, values, _ = torch.linalg.svd(columns.double(), full_matrices=False)
    return u[:, values > 1e-7 * values[:1].clamp_min(torch.finfo(torch.float64).tiny)]
