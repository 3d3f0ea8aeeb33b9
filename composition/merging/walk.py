"""The plumbing that merges share: check, walk the modules group by group, tell progress, put the result together."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

from torch import Tensor

from composition.merging import diagnostics
from composition.merging.diagnostics import MergeResult, Report
from composition.merging.units import Units, groups, module_names
from composition.progress import Progress, ignore
from composition.recipes import MergeRecipe
from composition.weights import Factors, LazyFactors, LoraWeights

R = TypeVar("R", bound=MergeRecipe)
Merged = Iterable[tuple[Units, Tensor, Tensor]]


def nothing(report: Report) -> dict[str, Any]:
    """No figures beside those that every merge reports."""
    return {}


def walk(
    adapters: Sequence[LoraWeights],
    recipe: R,
    merge: Callable[[list[Units], R, Report], Merged],
    *,
    said: str,
    summary: Callable[[Report], dict[str, Any]] = nothing,
    progress: Progress = ignore,
) -> MergeResult:
    """The merge of all modules. `merge(group, recipe, report)` gives (units, A' [k, in], B' [out, k]) of each module of
    a group of equal ranks, and fills its rows of the report; its recipe is settled. `said` begins progress messages.

    Raises CompositionError where the adapters don't fit the recipe, or a result doesn't fit its dtype.
    """
    report = diagnostics.begin(adapters, recipe)
    settled = cast(R, report.recipe)
    dtype = diagnostics.result_dtype(adapters, recipe)
    modules: dict[str, Factors | LazyFactors] = {}
    total = len(module_names(adapters))
    for group in groups(adapters):
        for units, A, B in merge(group, settled, report):
            modules[units.module] = diagnostics.cast_factors(units.module, A, B, dtype)
            progress(len(modules) / total, f"{said} {len(modules)} of {total} modules")
    return MergeResult(diagnostics.assemble(adapters, modules), report.to_dict(**summary(report)))


def shares(recipe: MergeRecipe, count: int) -> tuple[float, ...]:
    """The adapters' weights; 1/n each where the recipe gives none."""
    return recipe.weights or (1 / count,) * count
