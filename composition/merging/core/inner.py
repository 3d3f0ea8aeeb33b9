"""What methods on cores have in common: orthogonalising, an even spectrum, TIES in the adapters' own directions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from composition.merging import elements
from composition.merging.core.cores import ZERO, Cores

DEPENDENT = 1e-6
"""Directions whose singular value is below this share of the largest are dependent: they have no polar factor."""
CANCELLED = 1e-6
"""What is left of a sum below this share of the updates' norms is rounding of stored float32 numbers."""


def weights_of(weights: Sequence[float] | None, cores: Cores) -> tuple[float, ...]:
    """One weight for each adapter; ones where a recipe gives none."""
    return tuple(weights) if weights else (1.0,) * len(cores.ranks)


def triplets(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(U [p, j], singular values [j], V [q, j]) of left [p, r] @ right [r, q], without those that are rounding."""
    q_left, r_left = torch.linalg.qr(left)
    q_right, r_right = torch.linalg.qr(right.mT)
    u, values, vh = torch.linalg.svd(r_left @ r_right.mT, full_matrices=False)
    kept = values > ZERO * values[:1].clamp_min(torch.finfo(torch.float64).tiny)
    return q_left @ u[:, kept], values[kept], q_right @ vh[kept].mT


def polar(columns: Tensor) -> Tensor:
    """The nearest matrix with orthonormal columns to columns [p, m] (orthogonal Procrustes).

    Where columns are dependent, it is a partial isometry: directions that they don't span get nothing.
    """
    squares, vectors = torch.linalg.eigh(columns.mT @ columns)
    if len(squares) and bool(squares[0] > DEPENDENT * squares[-1]):
        return columns @ ((vectors * squares.rsqrt()) @ vectors.mT)
    u, values, vh = torch.linalg.svd(columns, full_matrices=False)
    kept = values > DEPENDENT * values[:1]
    return u[:, kept] @ vh[kept]


def orthogonal_sum(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """[p, q]: Σ of triplets (U, s, V) whose vectors are first made orthogonal to each other (`polar`)."""
    left, values, right = (torch.cat(each, -1) for each in zip(*parts, strict=True))
    return (polar(left) * values) @ polar(right).mT


def isotropic(core: Tensor, k: int) -> Tensor:
    """The k strongest directions of a core, each with the mean of their singular values."""
    u, values, vh = torch.linalg.svd(core, full_matrices=False)
    kept = min(k, int((values > ZERO * values[:1]).sum()))
    return u[:, :kept] @ vh[:kept] * values[:kept].mean() if kept else torch.zeros_like(core)


def ties_in_core_space(cores: Cores, density: float, weights: Sequence[float] | None) -> Tensor:
    """[p, q]: TIES on the cores, whose numbers are taken in the singular vectors of the stacked factors (`turns`)."""
    left, right = cores.turns()
    here = cores.present
    turned = (left.mT @ cores.updates() @ right)[here]
    return left @ elements.ties(turned, density, [weights[i] for i in here] if weights else None) @ right.mT


def task_singular_vectors(cores: Cores, weights: Sequence[float] | None, count: int | None = None) -> Tensor:
    """[p, q]: Σ_i w_i U_i S_i V_iᵀ with all U_i, and all V_i, made orthogonal (TSV); `count` triplets an adapter."""
    each = weights_of(weights, cores)
    parts = [
        (u[:, :count], each[i] * values[:count], v[:, :count])
        for i in cores.present
        for u, values, v in [triplets(*cores.factors(i))]
    ]
    return orthogonal_sum(parts)
