"""Gram matrices of pooled units: all a merge needs of R units of d numbers, in R × R.

    G_A = Â Âᵀ,  G_B = B̂ᵀ B̂        (folded units: ΔW of all adapters together is B̂ Â)
    ‖B̂ M Â‖²_F = tr(Mᵀ G_B M G_A)    for any M [R, R]

A result B' A' is B̂ X · Y Â with X [R, k], Y [k, R]: every norm, error and inner product of results is such a trace,
and an error is formed as M = XY − T before the trace, so nothing cancels. Products run in float32 over blocks of
`BLOCK` columns whose results add up in float64; `exact=True` runs them in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from composition.units import Units, refuse_nonfinite

BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Grams:
    """G_A and G_B of a group of modules: [M, R, R] float64."""

    A: Tensor
    B: Tensor

    def norm(self, coefficients: Tensor) -> Tensor:
        """[M]: ‖B̂ M Â‖_F for coefficients [M, R, R]."""
        product = (self.B @ coefficients) * (coefficients @ self.A)
        return product.sum((-1, -2)).clamp_min(0).sqrt()

    def norm_factored(self, left: Tensor, right: Tensor) -> Tensor:
        """[M]: ‖B̂ X Y Â‖_F for X [M, R, k] and Y [M, k, R]."""
        product = (left.mT @ self.B @ left) * (right @ self.A @ right.mT)
        return product.sum((-1, -2)).clamp_min(0).sqrt()

    def norm_diagonal(self, weights: Tensor) -> Tensor:
        """[M]: ‖B̂ diag(w) Â‖_F for w [M, R]."""
        product = self.A * self.B
        return (weights[:, None, :] @ product @ weights[:, :, None]).flatten().clamp_min(0).sqrt()

    def norm_blocks(self, ranks: Sequence[int]) -> Tensor:
        """[M, n]: ‖ΔW_i‖_F of each adapter's units alone; `ranks` gives the blocks."""
        product = self.A * self.B
        ends = torch.tensor(ranks).cumsum(0).tolist()
        spans = [slice(end - rank, end) for end, rank in zip(ends, ranks, strict=True)]
        return torch.stack([product[:, span, span].sum((-1, -2)) for span in spans], 1).clamp_min(0).sqrt()


def grams(group: Sequence[Units], names: Sequence[str], *, exact: bool = False) -> Grams:
    """Grams of the folded units of each module in the group; CompositionError where a unit is not finite."""
    count = group[0].count
    both = torch.empty(2, len(group), count, count, dtype=torch.float64)
    for m, units in enumerate(group):
        both[0, m] = _gram(units.A, exact) * (units.fold[:, None] * units.fold)
        signed = units.fold * units.sign
        both[1, m] = _gram(units.B.mT, exact) * (signed[:, None] * signed)
    finite = torch.isfinite(both.sum((0, 2, 3)))
    if not finite.all():
        refuse_nonfinite(group[int((~finite).nonzero()[0])], names)
    return Grams(both[0], both[1])


def _gram(rows: Tensor, exact: bool) -> Tensor:
    """rows @ rowsᵀ in float64 for rows [R, d]."""
    total = torch.zeros(rows.shape[0], rows.shape[0], dtype=torch.float64)
    for begin in range(0, rows.shape[1], BLOCK):
        block = rows[:, begin : begin + BLOCK]
        block = block.double() if exact else block
        total += block @ block.mT
    return total
