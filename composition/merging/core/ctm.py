"""Compress, then merge (He et al., ICML 2026): one pair of rank-k bases for all adapters, then a merge of k × k.

    U, V = argmax Σ_i ‖Uᵀ N_i V‖²_F,   U [out, k], V [in, k] orthonormal        (Tucker-2, by HOOI)
    C_i = Uᵀ ΔW_i V,   ΔW' = λ U merge(C_1 … C_n) Vᵀ

N_i is ΔW_i scaled to the norm β‖ΔW_i‖ + (1−β) mean_j ‖ΔW_j‖: at β = 1 strong adapters choose the bases, at β = 0 all
have the same say. The merge is of the C_i themselves. Nothing is cut after it, so the rank costs what the bases leave
out, and no more. U and V are singular vectors of what they capture, strongest first, so single numbers of the C_i mean
the same for all, and TIES acts on them. Adapters are not changed by how they are split into factors, nor is the result.

HOOI takes for U the k strongest left singular vectors of [N_1 V … N_n V], for V likewise, in turns, until what is
captured grows by less than 1e-6 of the whole.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from composition.merging import elements
from composition.merging.core.cores import Cores
from composition.merging.core.merge import merge_cores
from composition.merging.diagnostics import MergeResult
from composition.progress import Progress, ignore
from composition.recipes.merge.core_space import CtmRecipe
from composition.weights import LoraWeights

__all__ = ["CtmRecipe", "ctm"]

TOLERANCE = 1e-6
"""Growth of the captured norm, as a share of the whole, at which the bases are taken as found."""
SWEEPS = 1000


def ctm(adapters: Sequence[LoraWeights], recipe: CtmRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, merged, said="Compressed", progress=progress)


def merged(cores: Cores, recipe: CtmRecipe) -> Tensor:
    """[p, q]: λ U merge(Uᵀ M_i V) Vᵀ."""
    assert recipe.rank is not None
    updates = cores.updates()[cores.present]
    u, v = common_bases(blended(updates, recipe.beta), min(recipe.rank, *updates.shape[1:]))
    weights = None if recipe.weights is None else [recipe.weights[i] for i in cores.present]
    small = u.mT @ updates @ v
    if recipe.inner == "dare-ties":
        draws = [elements.generator_of(recipe.seed, cores.module, i) for i in cores.present]
        small = elements.dare(small, recipe.dare_density, draws)
    if recipe.inner == "mean":
        share = torch.tensor(weights or [1.0] * len(small), dtype=torch.float64)
        core = torch.tensordot(share / share.abs().sum(), small, 1)
    else:
        core = elements.ties(small, recipe.density, weights)
    return recipe.scale * (u @ core @ v.mT)


def blended(updates: Tensor, beta: float) -> Tensor:
    """[n, p, q]: each update scaled to the norm β · its own + (1−β) · the mean; a zero one stays zero."""
    norms = updates.flatten(1).norm(dim=1)
    wanted = beta * norms + (1 - beta) * norms.mean()
    return updates * torch.where(norms > 0, wanted / norms, 0.0)[:, None, None]


def common_bases(updates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(U [p, k], V [q, k]) of the Tucker-2 decomposition of updates [n, p, q]."""
    whole = updates.square().sum()
    u, _ = _strongest(updates.movedim(0, 1).flatten(1), k)
    v, captured = _strongest((u.mT @ updates).movedim(2, 0).flatten(1), k)
    for _ in range(SWEEPS):
        u, _ = _strongest((updates @ v).movedim(0, 1).flatten(1), k)
        v, more = _strongest((u.mT @ updates).movedim(2, 0).flatten(1), k)
        grown, captured = more - captured, more
        if grown <= TOLERANCE * whole:
            break
    u, _ = _strongest((updates @ v).movedim(0, 1).flatten(1), k)
    return u, v


def _strongest(columns: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(the k strongest left singular vectors of columns [p, m], strongest first; the squared norm along them)."""
    squares, vectors = torch.linalg.eigh(columns @ columns.mT)
    return vectors.flip(1)[:, :k], squares.flip(0)[:k].sum()
