"""Exact truncated SVD of Σ w_i ΔW_i without forming it: the closest rank-k matrix in the Frobenius norm.

With T = B̂ W Â, W = diag(w), and Cholesky factors G_A = L_A L_Aᵀ, G_B = L_B L_Bᵀ of the R × R Grams, the core
C = L_Bᵀ W L_A = U S Vᵀ has T's singular values, and

    B' = B̂ · W L_A V S^(-1/2),    A' = S^(-1/2) Uᵀ L_Bᵀ W · Â

is T's truncation with S^(1/2) on both halves (no inverse of a Gram appears). V comes from the eigenvectors of CᵀC in
float64. This loses digits when the units are nearly dependent or the kept singular values span many orders; such a
module goes through QR factorisations in float64: B̂ = Q_B R_B, Âᵀ = Q_A R_A, C = R_B W R_Aᵀ,
B' = Q_B U S^(1/2), A' = S^(1/2) Vᵀ Q_Aᵀ. Weights default to 1/n each: the mean.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from composition.merging import diagnostics
from composition.merging.diagnostics import MergeResult, Report
from composition.merging.gram import Grams, grams
from composition.merging.units import Units
from composition.merging.walk import Merged, shares, walk
from composition.progress import Progress, ignore
from composition.recipes import SvdRecipe
from composition.weights import LoraWeights

__all__ = ["SvdRecipe", "svd"]

CONDITION = 1e5
"""Bound on the condition number of a Gram up to which float32 products of it are good enough."""
SPREAD = 1e3
"""Largest ratio of kept singular values that the Gram way may handle."""
CANCELLATION = 10.0
"""Largest growth of rounding in the products B̂ X and Y Â."""


def svd(adapters: Sequence[LoraWeights], recipe: SvdRecipe, *, progress: Progress = ignore) -> MergeResult:
    """The best adapter of rank min(recipe.rank, Σr, in, out) a module for Σ w_i ΔW_i; a single adapter is compressed.

    Raises CompositionError where the adapters don't fit the recipe or hold values that are not finite.
    """
    return walk(adapters, recipe, _truncate, said="Factored", summary=_retained, progress=progress)


def _truncate(group: list[Units], recipe: SvdRecipe, report: Report) -> Merged:
    gram = grams(group, report.names)
    each = group[0].scatter(shares(recipe, len(report.names)))
    whole = diagnostics.root(gram.square_diagonal(each.expand(len(group), -1))).tolist()
    for m, units in enumerate(group):
        assert recipe.rank is not None
        k = min(recipe.rank, units.count, units.in_features, units.out_features)
        alone = Grams(gram.A[m : m + 1], gram.B[m : m + 1], gram.largest[m : m + 1])
        split = split_by_gram(alone.A[0], alone.B[0], each, k)
        if split is not None:
            left, right, values = split
            B, A = units.combine(left, right)
            report.add([units], alone, left[None], right[None])
        else:
            A, B, values = _split_by_qr(units, each, k, alone, report)
        kept = float(values.square().sum())
        row = report.modules[units.module]
        row["singular_values"] = values.tolist()
        row["retained"] = min(diagnostics.ratio(kept, whole[m] ** 2) or 1.0, 1.0)
        report.square("kept", kept**0.5)
        report.square("whole", whole[m])
        yield units, A, B


def _retained(report: Report) -> dict[str, float]:
    retained = diagnostics.ratio(report.squares["kept"], report.squares["whole"])
    return {"retained": min(1.0 if retained is None else retained, 1.0)}


def split_by_gram(gram_a: Tensor, gram_b: Tensor, weights: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """(X [R, k], Y [k, R], singular values [k]) of the truncation B̂ X · Y Â, or None where QR is called for."""
    lower_a, lower_b = _well_conditioned(gram_a), _well_conditioned(gram_b)
    if lower_a is None or lower_b is None:
        return None
    core = lower_b.mT @ (weights[:, None] * lower_a)
    squares, vectors = torch.linalg.eigh(core.mT @ core)
    squares, vectors = squares.flip(0)[:k], vectors.flip(1)[:, :k]
    if squares[-1] <= squares[0] / SPREAD**2:
        return None
    values = squares.sqrt()
    root = values.sqrt()
    left = weights[:, None] * (lower_a @ vectors) / root
    right = (((core @ vectors) / values).mT @ lower_b.mT) * weights / root[:, None]
    rounding = torch.stack([gram_b.diagonal() @ left.square(), right.square() @ gram_a.diagonal()])
    return None if bool((rounding > CANCELLATION**2 * values).any()) else (left, right, values)


def _well_conditioned(gram: Tensor) -> Tensor | None:
    """The Cholesky factor, where a bound on the condition number of the Gram of normalised units allows it."""
    norms = gram.diagonal().sqrt()
    if not bool((norms > 0).all()):
        return None
    even = gram / torch.outer(norms, norms)
    lower, failed = torch.linalg.cholesky_ex(even)
    if failed:
        return None
    inverse = torch.linalg.solve_triangular(lower, torch.eye(len(gram), dtype=gram.dtype), upper=False)
    bound = even.abs().sum(0).max() * inverse.abs().sum(0).max() * inverse.abs().sum(1).max()
    return norms[:, None] * lower if bound < CONDITION else None


def _split_by_qr(units: Units, weights: Tensor, k: int, gram: Grams, report: Report) -> tuple[Tensor, Tensor, Tensor]:
    """(A' [k, in], B' [out, k], singular values [k]) of the units in float64; the row's norms are the cores'."""
    A, B = units.stacked()
    q_b, r_b = torch.linalg.qr(B)
    q_a, r_a = torch.linalg.qr(A.mT)
    u, values, vh = torch.linalg.svd(r_b @ (weights[:, None] * r_a.mT), full_matrices=False)
    u, values, vh = u[:, :k], values[:k], vh[:k]
    whole = r_b @ (report.target(units)[:, None] * r_a.mT)
    result = (u * values) @ vh
    norms = {
        "norm": float(values.norm()),
        "sum": float(whole.norm()),
        "off_sum": float((result - whole).norm()),
        "off_mean": float((result - whole / len(report.names)).norm()),
    }
    each = ((r_b.mT @ result) * r_a.mT).sum(1)  # ⟨ΔW', b_i a_iᵀ⟩ of each unit
    shared = torch.stack([part.sum() for part in each.split(list(units.ranks))])
    report.add_row(units, k, norms, gram.norm_blocks(units.ranks)[0], shared)
    root = values.sqrt()
    return root[:, None] * (vh @ q_a.mT), (q_b @ u) * root, values
