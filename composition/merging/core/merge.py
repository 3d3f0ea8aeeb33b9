"""How a merge by cores runs: one pass for the Grams, the method on each module's cores, a cut to rank k, a lift."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from composition.merging.core.cores import Cores, cores_of
from composition.merging.diagnostics import MergeResult, Report
from composition.merging.gram import grams
from composition.merging.units import Units
from composition.merging.walk import Merged, walk
from composition.progress import Progress, ignore
from composition.recipes.merge import RankedRecipe
from composition.weights import LoraWeights

R = TypeVar("R", bound=RankedRecipe)


def merge_cores(
    adapters: Sequence[LoraWeights],
    recipe: R,
    merged: Callable[[Cores, R], Tensor],
    *,
    said: str,
    progress: Progress = ignore,
) -> MergeResult:
    """The merge whose core in each module is `merged(cores, recipe)`, [p, q], cut to its best rank-k part.

    k is min(recipe.rank, Σr, in, out). Raises CompositionError where the adapters don't fit the recipe or hold values
    that are not finite.
    """

    def merge(group: list[Units], recipe: R, report: Report) -> Merged:
        gram = grams(group, report.names)
        for m, units in enumerate(group):
            assert recipe.rank is not None
            k = min(recipe.rank, units.count, units.in_features, units.out_features)
            cores = cores_of(units, gram, m)
            u, v = cut(merged(cores, recipe), k)
            assert cores.lift is not None
            B, A = cores.lift(u, v)
            report.add_core(units, cores, u, v)
            yield units, A, B

    return walk(adapters, recipe, merge, said=said, progress=progress)


def cut(core: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(U [p, k], V [k, q]) of the best rank-k part of a core, √S on both halves; zeros where its rank is lower."""
    u, values, vh = torch.linalg.svd(core, full_matrices=False)
    u, values, vh = u[:, :k], values[:k], vh[:k]
    root = values.sqrt()
    missing = k - len(values)
    return (
        torch.nn.functional.pad(u * root, (0, missing)),
        torch.nn.functional.pad(root[:, None] * vh, (0, 0, 0, missing)),
    )
