"""Fading sum: stack the adapters' units, adapter i scaled by its share c_i, and ΔW' = Σ c_i ΔW_i exactly.

    c_i = w_i decay^i,    A' = [√|c_0| Â_0; √|c_1| Â_1; …],    B' = [±√|c_0| B̂_0, ±√|c_1| B̂_1, …]

A toy. It has no source; `cat` with these weights does the same.
"""

from collections.abc import Sequence

from composition.factors import Factors, LoraWeights
from composition.merging import diagnostics
from composition.merging.diagnostics import MergeResult
from composition.merging.units import module_names, pool
from composition.progress import Progress, ignore
from composition.recipes.merge.fade import FadeRecipe


def fade(adapters: Sequence[LoraWeights], recipe: FadeRecipe, *, progress: Progress = ignore) -> MergeResult:
    """The fading sum. Raises CompositionError where the adapters don't fit each other or are not finite."""
    report = diagnostics.begin(adapters, recipe)
    weights = recipe.weights or (1.0,) * len(adapters)
    shares = [weight * recipe.decay**place for place, weight in enumerate(weights)]
    dtype = diagnostics.result_dtype(adapters, recipe)
    names, modules = module_names(adapters), dict[str, Factors]()
    for done, module in enumerate(names, 1):
        units = pool(adapters, module)
        each = units.scatter(shares)  # [R]
        A, B = units.stacked()  # [R, in], [out, R]
        root = each.abs().sqrt()
        factors = diagnostics.cast_factors(module, A * root[:, None], B * root * each.sign(), dtype)
        report.measure(units, factors.A, factors.B)
        modules[module] = factors
        progress(done / len(names), f"Summed {done} of {len(names)} modules")
    return MergeResult(diagnostics.assemble(adapters, modules), report.to_dict())
