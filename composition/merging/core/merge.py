"""How a merge by cores runs: one pass for the Grams, the method on each module's cores, a cut to rank k, a lift."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from composition.merging import diagnostics
from composition.merging.core.cores import Cores, cores_of
from composition.merging.diagnostics import MergeResult, Report
from composition.merging.gram import grams
from composition.merging.units import Units
from composition.merging.walk import Merged, walk
from composition.progress import Progress, ignore
from composition.recipes.merge import RankedRecipe
from composition.weights import LoraWeights

R = TypeVar("R", bound=RankedRecipe)

SPREAD = 1e3
"""Largest ratio of kept singular values that a product of a core with itself keeps the digits of."""


def merge_cores(
    adapters: Sequence[LoraWeights],
    recipe: R,
    merged: Callable[[Cores, R], Tensor],
    *,
    said: str,
    progress: Progress = ignore,
) -> MergeResult:
    """The merge whose core in each module is `merged(cores, recipe)`, [p, q], cut to its best rank-k part.

    k is min(recipe.rank, Σr, in, out). The report gets the merge's singular values that are kept, and `retained`, their
    share of its squared norm. Raises CompositionError where the adapters don't fit the recipe or hold values that are
    not finite.
    """

    def merge(group: list[Units], recipe: R, report: Report) -> Merged:
        gram = grams(group, report.names)
        for m, units in enumerate(group):
            cores = cores_of(units, gram, m)
            core = merged(cores, recipe)
            u, values, v = cut(core, kept_rank(recipe, units))
            assert cores.lift is not None
            B, A = cores.lift(u, v)
            report.add_core(units, cores, u, v)
            tell_cut(report, units.module, values, core)
            yield units, A, B

    return walk(adapters, recipe, merge, said=said, summary=retained, progress=progress)


def kept_rank(recipe: RankedRecipe, units: Units) -> int:
    """k of a module, for a settled recipe."""
    assert recipe.rank is not None
    return min(recipe.rank, units.count, units.in_features, units.out_features)


def cut(core: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """(U [p, k], singular values, V [k, q]) of the best rank-k part U V of a core, √S on both halves.

    Zeros where its rank is lower. The vectors come from the smaller product of the core with itself where its squares
    keep the digits of what is kept, from its SVD else.
    """
    if core.shape[0] < core.shape[1]:
        right, values, left = cut(core.mT, k)
        return left.mT, values, right.mT
    split = _by_product(core, k)
    if split is None:
        u, values, vh = torch.linalg.svd(core, full_matrices=False)
        u, values, vh = u[:, :k], values[:k], vh[:k]
        split = u * values.sqrt(), values, values.sqrt()[:, None] * vh
    u, values, v = split
    missing = k - len(values)
    return torch.nn.functional.pad(u, (0, missing)), values, torch.nn.functional.pad(v, (0, 0, 0, missing))


def _by_product(core: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor] | None:
    squares, vectors = torch.linalg.eigh(core.mT @ core)
    squares, vectors = squares.flip(0)[:k], vectors.flip(1)[:, :k]
    if not len(squares) or not bool(squares[-1] > squares[0] / SPREAD**2):
        return None
    values = squares.sqrt()
    root = values.sqrt()
    return (core @ vectors) / root, values, root[:, None] * vectors.mT


def tell_cut(report: Report, module: str, values: Tensor, merged: Tensor) -> None:
    """Add to a module's row what a cut keeps of a merge: the singular values, of a core or factor of its norm."""
    kept, whole = float(values.norm()), float(merged.norm())
    row = report.modules[module]
    row["singular_values"] = values.tolist()
    row["retained"] = _share(kept, whole)
    report.square("kept", kept)
    report.square("merged", whole)


def retained(report: Report) -> dict[str, Any]:
    """The share of the whole merge's squared norm that the cut keeps."""
    return {"retained": _share(report.whole("kept"), report.whole("merged"))}


def _share(kept: float, whole: float) -> float:
    part = diagnostics.ratio(kept, whole)
    return 1.0 if part is None else min(part * part, 1.0)
