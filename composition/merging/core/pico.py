"""Pico (Tang & Yang, 2026, arXiv:2604.16826): damp the output directions that adapters share, then merge.

Adapters' B use few directions in common, which a sum makes too strong. With the thin SVD [B_1 … B_n] = U Σ Vᵀ:

    s_j = σ_j² / Σ_k σ_k²,   α_j = 1 / (1 + (n−1) s_j),   S = I + U diag(α − 1) Uᵀ
    ΔW' = λ γ merge(S ΔW_1, …, S ΔW_n),   γ = mean_i ‖ΔW_i‖_F / ‖merge(…)‖_F

γ brings the result back to the size of one adapter; with weights its mean is theirs, and only their proportions count.
The B are those stored, with a LoRA's scale on them, so this hangs on how ΔW is split into factors (not on turning the
ranks). `directions="updates"` takes the output directions of the ΔW_i in their place, as if all A were orthonormal:
the same for every way of splitting. Inside, TIES works on cores (Core Space); the paper's works on all of ΔW.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from composition.merging.core.core_space import inner_merge
from composition.merging.core.cores import Cores
from composition.merging.core.inner import CANCELLED, triplets, weights_of
from composition.merging.core.merge import merge_cores
from composition.merging.diagnostics import MergeResult
from composition.progress import Progress, ignore
from composition.recipes.merge.core_space import PicoRecipe
from composition.weights import LoraWeights

__all__ = ["PicoRecipe", "pico"]


def pico(adapters: Sequence[LoraWeights], recipe: PicoRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, merged, said="Calibrated", progress=progress)


def merged(cores: Cores, recipe: PicoRecipe) -> Tensor:
    """[p, q]: λ γ merge(S M_1, …, S M_n)."""
    core = inner_merge(calibrated(cores, recipe.directions), recipe.inner, recipe.density, recipe.weights)
    share = torch.tensor(weights_of(recipe.weights, cores), dtype=torch.float64).abs()[cores.present]
    size = (share * cores.norms()[cores.present]).sum() / share.sum()
    norm = core.norm()
    # What is left of updates that cancel is rounding, and no direction to be brought back to a size.
    return core * (recipe.scale * size / norm) if norm > CANCELLED * size else torch.zeros_like(core)


def calibrated(cores: Cores, directions: str) -> Cores:
    """The cores with their shared output directions damped: S L for L."""
    columns = shared_columns(cores, directions)
    squares, vectors = torch.linalg.eigh(columns @ columns.mT)
    squares = squares.clamp_min(0)
    total = squares.sum()
    if not total > 0:
        return cores
    count = len(cores.present)
    damping = 1 / (1 + (count - 1) * squares / total) - 1
    return replace(cores, left=cores.left + (vectors * damping) @ (vectors.mT @ cores.left), lift=None)


def shared_columns(cores: Cores, directions: str) -> Tensor:
    """[p, R]: [B_1 … B_n] in the cores' basis, or columns of each ΔW_i's own strength."""
    if directions == "factors":
        return cores.left * cores.fold if len(cores.fold) else cores.left
    return torch.cat([u * values for i in cores.present for u, values, _ in [triplets(*cores.factors(i))]], 1)
