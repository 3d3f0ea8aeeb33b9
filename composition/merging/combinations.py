"""Frobenius norms of weighted sums of units, ‖Σ_i c_i b_i a_iᵀ‖_F, also where the sum nearly cancels.

    ‖·‖² = cᵀ (G_A ∘ G_B) c,    G_A, G_B the float64 Grams of the folded units
    ‖·‖  = ‖R_B diag(c) R_Aᵀ‖_F,    B̂ = Q_B R_B, Âᵀ = Q_A R_A

Both are right up to rounding of the sum's size s = Σ_i |c_i| ‖a_i‖ ‖b_i‖, which is its norm if nothing cancels: about
1e-16 s² in the first, so that a norm below 1e-8 s drowns, and about 1e-15 s in the second. So Grams come first, and
QR where a norm is small beside s. The triangles are made block by block (QR of the triangle so far and the next rows),
without Q: nothing of the size out × in is made, and the units are not held in float64. O(R² (in + out)) work.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.merging.gram import grams
from composition.merging.units import Units
from composition.weights import Factors

CANCELLED = 1e-3
"""A norm below this share of its sum's size is taken from QR: the squares would keep fewer than ten digits."""
ZERO = 1e-14
"""A norm below this share of its sum's size is rounding, and zero."""


def beside(units: Units, result: Factors) -> Units:
    """The units of a result of any factors before those they were made from; CompositionError where shapes differ."""
    if (result.in_features, result.out_features) != (units.in_features, units.out_features):
        raise CompositionError(
            "weights.shape",
            f"The result for {units.module} is [{result.out_features}, {result.in_features}]; expected "
            f"[{units.out_features}, {units.in_features}] as the adapters have it.",
            module=units.module,
        )
    own = torch.ones(result.rank, dtype=torch.float64)
    fold = torch.cat([own * abs(result.scale) ** 0.5, units.fold])
    sign = torch.cat([own if result.scale >= 0 else -own, units.sign])
    return Units(units.module, (result, *units.factors), fold, sign, (result.rank, *units.ranks))


def combination_norms(units: Units, names: Sequence[str], combinations: Tensor) -> Tensor:
    """[q] float64: the norm for each row c of `combinations` [q, R], float64.

    Raises CompositionError where a unit is not finite, with the name of its adapter among `names`.
    """
    gram = grams([units], names, exact=True)
    size = combinations.abs() @ (gram.A[0].diagonal() * gram.B[0].diagonal()).sqrt()
    norms = ((combinations @ (gram.A[0] * gram.B[0])) * combinations).sum(1).clamp_min(0).sqrt()
    small = (norms < CANCELLED * size).nonzero().flatten()
    if len(small):
        right = triangle(block.mT for _, block in units.blocks_a(torch.float64))
        left = triangle(block for _, block in units.blocks_b(torch.float64))
        folded = combinations * units.fold.square() * units.sign
        for row in small.tolist():
            norms[row] = torch.linalg.matrix_norm((left * folded[row]) @ right.mT)
    return torch.where(norms > ZERO * size, norms, 0.0)


def triangle(blocks: Iterable[Tensor]) -> Tensor:
    """R [≤ R, R] of the QR factorisation of the blocks [rows, R] stacked on each other."""
    upper: Tensor | None = None
    for block in blocks:
        rows = block if upper is None else torch.cat([upper, block])
        upper = torch.linalg.qr(rows, mode="r").R
    assert upper is not None
    return upper
