"""Exact truncated SVD of Σ w_i ΔW_i without forming it: the closest rank-k matrix in the Frobenius norm.

In orthonormal bases the sum is a small core (`core.cores`) with the same singular values; its best rank-k part, lifted,
is the sum's (Eckart & Young, 1936). Weights default to 1/n each: the mean.
"""

from collections.abc import Sequence

from torch import Tensor

from composition.merging.core.cores import Cores
from composition.merging.core.merge import merge_cores
from composition.merging.diagnostics import MergeResult
from composition.merging.walk import shares
from composition.progress import Progress, ignore
from composition.recipes import SvdRecipe
from composition.weights import LoraWeights

__all__ = ["SvdRecipe", "svd"]


def svd(adapters: Sequence[LoraWeights], recipe: SvdRecipe, *, progress: Progress = ignore) -> MergeResult:
    """The best adapter of rank min(recipe.rank, Σr, in, out) a module for Σ w_i ΔW_i; a single adapter is compressed.

    Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite.
    """
    return merge_cores(adapters, recipe, merged, said="Factored", progress=progress)


def merged(cores: Cores, recipe: SvdRecipe) -> Tensor:
    """[p, q]: Σ w_i M_i."""
    return cores.whole(shares(recipe, len(cores.ranks)))
