"""Scaling: ΔW' = factor · ΔW, by the scale that stands beside each module's factors. A toy; it has no source."""

from dataclasses import replace
from functools import partial

from composition.factors import Factors, LazyFactors, LoraWeights
from composition.merging.diagnostics import MergeResult
from composition.progress import Progress, ignore
from composition.recipes.scale import ScaleRecipe


def scale(adapter: LoraWeights, recipe: ScaleRecipe, *, progress: Progress = ignore) -> MergeResult:
    """The adapter, scaled; its modules are read when they are saved."""
    modules = {}
    for done, module in enumerate(adapter, 1):
        old = adapter.module_facts(module)
        facts = replace(old, scale=old.scale * recipe.factor)
        load = partial(_scaled, adapter, module, facts.scale)
        modules[module] = LazyFactors(facts, adapter.module_dtype(module), load)
        progress(done / len(adapter), f"Scaled {done} of {len(adapter)} modules")
    result = LoraWeights(
        modules,
        base_model=adapter.base_model,
        task_type=adapter.task_type,
        target_modules=adapter.target_modules,
        fan_in_fan_out=adapter.fan_in_fan_out,
    )
    return MergeResult(result, {"method": recipe.kind, "summary": {"modules": len(modules), "factor": recipe.factor}})


def _scaled(adapter: LoraWeights, module: str, scale: float) -> Factors:
    return replace(adapter[module], scale=scale)
