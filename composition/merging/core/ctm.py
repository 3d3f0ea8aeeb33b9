"""Compress, then merge (He et al., ICML 2026): one pair of rank-k bases for all adapters, then a merge of k × k.

    U, V = argmax Σ_i ‖Uᵀ N_i V‖²_F,   U [out, k], V [in, k] orthonormal        (Tucker-2, by HOOI)
    C_i = Uᵀ ΔW_i V,   ΔW' = λ U merge(C_1 … C_n) Vᵀ

N_i is ΔW_i scaled to the norm β‖ΔW_i‖ + (1−β) mean_j ‖ΔW_j‖: at β = 1 strong adapters choose the bases, at β = 0 all
have the same say. The merge is of the C_i themselves. Nothing is cut after it, so the rank costs what the bases leave
out, and no more. U and V are singular vectors of what they capture, strongest first, so single numbers of the C_i mean
the same for all, and TIES acts on them. Adapters are not changed by how they are split into factors, nor is the result.

HOOI takes for U the k strongest left singular vectors of [N_1 V … N_n V], for V likewise, in turns. Here a turn is one
step of orthogonal iteration towards them, which costs products with the factors alone, and there are at most 50: where
to stop doesn't hang on rounding. Adapters with anything in common have long settled by then.
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

TURNS = 50
SETTLED = 1e-14
"""Growth of the captured squared norm, as a share of it, below which turns change nothing."""


def ctm(adapters: Sequence[LoraWeights], recipe: CtmRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, merged, said="Compressed", progress=progress)


def merged(cores: Cores, recipe: CtmRecipe) -> Tensor:
    """[p, q]: λ U merge(Uᵀ M_i V) Vᵀ."""
    assert recipe.rank is not None
    u, v = common_bases(cores, blend(cores, recipe.beta), recipe.rank)
    updates = cores.updates()[cores.present]
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


def blend(cores: Cores, beta: float) -> Tensor:
    """[R]: what takes each update to the norm β · its own + (1−β) · the mean, unit by unit; 0 for a zero one."""
    norms = cores.norms()
    wanted = beta * norms + (1 - beta) * norms[cores.present].mean()
    return torch.where(norms > 0, wanted / norms, 0.0).repeat_interleave(torch.tensor(cores.ranks))


def common_bases(cores: Cores, scales: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(U [p, k], V [q, k]) of the Tucker-2 decomposition of the updates, their units times `scales` [R].

    k is cut to p and q. Σ_i N_i V Vᵀ N_iᵀ is L D Lᵀ, with D the blocks of single adapters in (R V)(R V)ᵀ.
    """
    left, right = cores.left * scales, cores.right.mT
    owner = torch.arange(len(cores.ranks)).repeat_interleave(torch.tensor(cores.ranks))
    own = (owner[:, None] == owner).double()
    k = min(k, len(left), len(right))
    u = _strongest(left, own * (right.mT @ right), k)
    v = _strongest(right, own * _outer(left.mT @ u), k)
    captured = 0.0
    for _ in range(TURNS):
        u, _ = _step(u, left, own * _outer(right.mT @ v))
        v, more = _step(v, right, own * _outer(left.mT @ u))
        if more - captured <= SETTLED * more:
            break
        captured = more
    u = _strongest(left, own * _outer(right.mT @ v), k)
    return u, _strongest(right, own * _outer(left.mT @ u), k)


def _outer(rows: Tensor) -> Tensor:
    return rows @ rows.mT


def _step(basis: Tensor, columns: Tensor, blocks: Tensor) -> tuple[Tensor, float]:
    """One step of orthogonal iteration by columns · blocks · columnsᵀ; and the trace in the basis before it."""
    inner = columns.mT @ basis
    mixed = blocks @ inner
    return torch.linalg.qr(columns @ mixed).Q, float((inner * mixed).sum())


def _strongest(columns: Tensor, blocks: Tensor, k: int) -> Tensor:
    """[p, k]: the strongest eigenvectors of columns · blocks · columnsᵀ, strongest first."""
    return torch.linalg.eigh(columns @ blocks @ columns.mT).eigenvectors.flip(1)[:, :k]
