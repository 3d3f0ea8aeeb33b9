"""SLERP and the Karcher mean: updates as directions on a sphere, with norms of their own, module by module.

    SLERP    ΔW' = sin((1 − t) θ) / sin θ · ΔW_1 + sin(t θ) / sin θ · ΔW_2,   cos θ = ⟨ΔW_1, ΔW_2⟩ / ‖ΔW_1‖ ‖ΔW_2‖
    Karcher  μ ← exp_μ(Σ_i α_i log_μ(ΔW_i / ‖ΔW_i‖)) until it stays,   ΔW' = μ Σ_i α_i ‖ΔW_i‖,   α_i = |w_i| / Σ |w|

The formulas are Shoemake's (1985) and Karcher's (1977); norms, thresholds and steps are mergekit's. Both results are
sums Σ c_i ΔW_i, their coefficients follow from inner products alone: they are found from the cores, and cut to rank k.
A negative weight turns its update around. An adapter without the module has norm 0 and no direction there.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from composition.merging.core.cores import Cores
from composition.merging.core.merge import merge_cores
from composition.merging.diagnostics import MergeResult
from composition.progress import Progress, ignore
from composition.recipes.merge.manifold import KarcherRecipe, SlerpRecipe
from composition.weights import LoraWeights

COLLINEAR = 0.9995
"""|cos θ| above which two updates are mixed linearly."""
SHORT = 1e-5
"""A step, a norm or an angle below this is none."""


def slerp(adapters: Sequence[LoraWeights], recipe: SlerpRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, slerp_core, said="Turned", progress=progress)


def karcher(adapters: Sequence[LoraWeights], recipe: KarcherRecipe, *, progress: Progress = ignore) -> MergeResult:
    """Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite."""
    return merge_cores(adapters, recipe, karcher_core, said="Averaged", progress=progress)


def slerp_core(cores: Cores, recipe: SlerpRecipe) -> Tensor:
    """[p, q]: the core between the two."""
    return cores.whole(slerp_shares(_inner(cores), recipe.t))


def karcher_core(cores: Cores, recipe: KarcherRecipe) -> Tensor:
    """[p, q]: the core of the mean on the sphere."""
    return cores.whole(karcher_shares(_inner(cores), recipe.weights, recipe.iterations))


def _inner(cores: Cores) -> Tensor:
    """[n, n]: ⟨ΔW_i, ΔW_j⟩."""
    flat = cores.updates().flatten(1)
    return flat @ flat.mT


def slerp_shares(inner: Tensor, t: float) -> tuple[float, float]:
    """(c_1, c_2) of the sum, for inner products [2, 2]."""
    size = math.sqrt(float(inner[0, 0] * inner[1, 1]))
    cosine = max(-1.0, min(1.0, float(inner[0, 1]) / size)) if size > 0 else 0.0
    if abs(cosine) > COLLINEAR:
        return 1 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def karcher_shares(inner: Tensor, weights: Sequence[float] | None, iterations: int) -> Tensor:
    """[n] float64: the coefficients of the sum, for inner products [n, n]."""
    given = torch.tensor(weights or [1.0] * len(inner), dtype=torch.float64)
    norms = inner.diagonal().clamp_min(0).sqrt()
    some = norms > 0
    if not bool(some.any()):
        return torch.zeros_like(norms)
    turned = torch.where(some, given.sign() / torch.where(some, norms, 1.0), 0.0)
    cosines = inner * torch.outer(turned, turned)
    alphas = torch.where(some, given.abs(), 0.0)
    alphas = alphas / alphas.sum()
    # A mean is held by its coefficients on the directions: μ = Σ mean_i ΔW_i / ‖ΔW_i‖.
    mean = _unit(alphas, cosines)
    if mean is None:
        mean = torch.nn.functional.one_hot(some.nonzero()[0, 0], len(norms)).double()
    for _ in range(iterations):
        near = (cosines @ mean).clamp(-1, 1)
        angles = near.acos()
        told = some & (angles > SHORT) & (math.pi - angles > SHORT)
        pull = torch.where(told, alphas * angles / torch.where(told, angles.sin(), 1.0), 0.0)
        step = pull - (pull @ near) * mean
        length = _norm(step, cosines)
        if length < SHORT:
            break
        moved = math.cos(length) * mean + math.sin(length) / length * step
        mean = moved / _norm(moved, cosines)
    size = float((given.abs() * norms).sum() / given.abs().sum())
    return size * mean * turned


def _norm(coefficients: Tensor, cosines: Tensor) -> float:
    return math.sqrt(max(0.0, float(coefficients @ cosines @ coefficients)))


def _unit(coefficients: Tensor, cosines: Tensor) -> Tensor | None:
    """Of length 1; None where the sum has no direction."""
    length = _norm(coefficients, cosines)
    return coefficients / length if length >= SHORT else None
