"""TSV-Merge (Gargiulo et al., CVPR 2025, arXiv:2412.00081): task singular vectors, made orthogonal, then added.

    ΔW_i = U_i S_i V_iᵀ,   Û, V̂ = polar factors of [U_1 … U_n] and [V_1 … V_n],   ΔW' = λ Û diag(S_1, …, S_n) V̂ᵀ

Adapters that share directions write over each other in a plain sum; the polar factor (Procrustes) moves all vectors as
little as possible until none does. The paper keeps the share 1/n of a matrix's triplets for each task, which is all
there are of a LoRA whose rank is below min(in, out)/n; here all are kept where `triplets` doesn't say how many.
Directions that adapters share altogether have no polar factor: what more than one adapter puts there is one direction.
"""

from collections.abc import Sequence

from torch import Tensor

from composition.merging.core.cores import Cores
from composition.merging.core.inner import task_singular_vectors
from composition.merging.core.merge import merge_cores
from composition.merging.diagnostics import MergeResult
from composition.progress import Progress, ignore
from composition.recipes.merge.spectra import TsvRecipe
from composition.weights import LoraWeights

__all__ = ["TsvRecipe", "tsv"]


def tsv(adapters: Sequence[LoraWeights], recipe: TsvRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, merged, said="Orthogonalised", progress=progress)


def merged(cores: Cores, recipe: TsvRecipe) -> Tensor:
    """[p, q]: λ Û diag(w_i S_i) V̂ᵀ."""
    return recipe.scale * task_singular_vectors(cores, recipe.weights, recipe.triplets)
