"""Isotropic merging (Marczak et al., ICML 2025, arXiv:2502.04959): Iso-C and Iso-CTS.

Iso-C: a sum of updates has few strong directions, which drown what single tasks need. All get the mean strength:

    Σ w_i ΔW_i = U S Vᵀ,   ΔW' = λ S̄ U_k V_kᵀ,   S̄ = mean of S_1 … S_k

Iso-CTS: only the part `common` of the k directions comes from the sum; the rest, s for each adapter, from what is left
of it outside them:

    ΔW_i − U_c U_cᵀ ΔW_i = U_i S_i V_iᵀ,   Û, V̂ = polar factors of [U_c, U_1 …] and [V_c, V_1 …],   ΔW' = λ S̄ Û V̂ᵀ

The papers' matrices have full rank. A LoRA's spectrum is cut to k first and evened out then, as an even spectrum can't
be cut: at k = Σr this is Iso-C in the adapters' common core space. Iso-CTS gives every adapter one direction at least
where k > n (He et al., ICML 2026, do so at fixed rank); at k ≤ n it is Iso-C.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from composition.merging.core.cores import Cores
from composition.merging.core.inner import CANCELLED, isotropic, orthogonal_sum, triplets, weights_of
from composition.merging.core.merge import merge_cores
from composition.merging.diagnostics import MergeResult
from composition.progress import Progress, ignore
from composition.recipes.merge.spectra import IsoCRecipe, IsoCtsRecipe
from composition.weights import LoraWeights

__all__ = ["IsoCRecipe", "IsoCtsRecipe", "iso_c", "iso_cts"]


def iso_c(adapters: Sequence[LoraWeights], recipe: IsoCRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, evened, said="Evened out", progress=progress)


def iso_cts(adapters: Sequence[LoraWeights], recipe: IsoCtsRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, common_and_own, said="Evened out", progress=progress)


def evened(cores: Cores, recipe: IsoCRecipe) -> Tensor:
    """[p, q]: λ S̄ U_k V_kᵀ."""
    assert recipe.rank is not None
    return recipe.scale * isotropic(cores.whole(weights_of(recipe.weights, cores)), recipe.rank)


def common_and_own(cores: Cores, recipe: IsoCtsRecipe) -> Tensor:
    """[p, q]: λ S̄ Û V̂ᵀ of common and own directions."""
    assert recipe.rank is not None
    each = weights_of(recipe.weights, cores)
    whole = cores.whole(each)
    k = min(recipe.rank, *whole.shape)
    own = own_directions(k, len(cores.present), recipe.common)
    if not own:
        return recipe.scale * isotropic(whole, k)
    u, values, vh = torch.linalg.svd(whole, full_matrices=False)
    rounding = CANCELLED * torch.tensor(each, dtype=torch.float64).abs() * cores.norms()
    strong = int((values > rounding.sum()).sum())  # where updates cancel, fewer directions are left
    common = min(k - own * len(cores.present), strong)
    parts = [(u[:, :common], values[:common], vh[:common].mT)]
    for i in cores.present:
        left, right = cores.factors(i)
        outside = left - parts[0][0] @ (parts[0][0].mT @ left)
        u, values, v = triplets(each[i] * outside, right)
        real = min(own, int((values > rounding[i]).sum()))
        parts.append((u[:, :real], values[:real], v[:, :real]))
    mean = torch.cat([values for _, values, _ in parts]).mean()
    return recipe.scale * orthogonal_sum([(u, mean.expand(len(values)), v) for u, values, v in parts])


def own_directions(k: int, count: int, common: float) -> int:
    """How many of k directions each of `count` adapters has to itself, for the share `common` of common ones."""
    if common >= 1 or k <= count:
        return 0
    return min(max(round((k - int(k * common)) / count), 1), k // count)
