"""Core Space merging (Panariello et al., NeurIPS 2025, arXiv:2509.17786): other merges, done on the small cores.

    [B_1 … B_n] = U_B …,   [A_1; …; A_n] = … V_Aᵀ,   M_i = U_Bᵀ ΔW_i V_A,   ΔW' = λ U_B merge(M_1 … M_n) V_Aᵀ

U_B and V_A are the singular vectors of the stacked factors, so single numbers of the cores mean the same for all
adapters, and TIES acts on them. Task arithmetic, TSV and Iso-C give in these bases what they give on ΔW. The bases
hang on how ΔW is split into factors (B, A against cB, A/c), and so does TIES on cores; turning the ranks, (BQᵀ, QA),
leaves them. A LoRA's scale is on both halves alike.
"""

from collections.abc import Sequence

from torch import Tensor

from composition.merging.core.cores import Cores
from composition.merging.core.inner import isotropic, task_singular_vectors, ties_in_core_space, weights_of
from composition.merging.core.merge import merge_cores
from composition.merging.diagnostics import MergeResult
from composition.progress import Progress, ignore
from composition.recipes.merge.core_space import CoreSpaceRecipe
from composition.weights import LoraWeights

__all__ = ["CoreSpaceRecipe", "core_space"]


def core_space(adapters: Sequence[LoraWeights], recipe: CoreSpaceRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, merged, said="Merged", progress=progress)


def merged(cores: Cores, recipe: CoreSpaceRecipe) -> Tensor:
    """[p, q]: λ merge(M_1 … M_n), with an even spectrum where the recipe asks for it."""
    assert recipe.rank is not None
    core = inner_merge(cores, recipe.inner, recipe.density, recipe.weights)
    even = recipe.isotropic or recipe.inner == "iso-c"
    return recipe.scale * (isotropic(core, recipe.rank) if even else core)


def inner_merge(cores: Cores, inner: str, density: float, weights: Sequence[float] | None) -> Tensor:
    """[p, q]: the cores merged by TIES, by TSV, or added."""
    match inner:
        case "ties":
            return ties_in_core_space(cores, density, weights)
        case "tsv":
            return task_singular_vectors(cores, weights)
        case _:
            return cores.whole(weights_of(weights, cores))
