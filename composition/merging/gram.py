"""Gram matrices of pooled units: all a merge needs of R units of d numbers, in R × R.

    G_A = Â Âᵀ,  G_B = B̂ᵀ B̂        (folded units: ΔW of all adapters together is B̂ Â)
    ⟨B̂ M Â, B̂ N Â⟩ = tr(Mᵀ G_B N G_A)

A result B' A' is B̂ X · Y Â with X [R, k], Y [k, R], and a target is B̂ diag(t) Â: norms, inner products and so errors
are traces of small products. An error is a difference of squares here: it is told from zero down to about 1e-8, or
3e-4 where halves of different units coincide and the Grams are not `exact`.
Products of units run in float32 over blocks of columns whose results add up in float64; `exact=True` runs them in
float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from composition.merging.units import Units, refuse_nonfinite, spans_of


@dataclass(frozen=True, slots=True)
class Grams:
    """G_A and G_B of a group of modules: [M, R, R] float64; `largest` [M, R]: the units' L∞ norms over both halves."""

    A: Tensor
    B: Tensor
    largest: Tensor

    def inner(self, left: Tensor, right: Tensor, left_too: Tensor, right_too: Tensor) -> Tensor:
        """[M]: ⟨B̂ X Y Â, B̂ X' Y' Â⟩ for X, X' [M, R, k] and Y, Y' [M, k, R]."""
        return ((left.mT @ self.B @ left_too) * (right @ self.A @ right_too.mT)).sum((-1, -2))

    def inner_diagonal(self, left: Tensor, right: Tensor, target: Tensor) -> Tensor:
        """[M]: ⟨B̂ X Y Â, B̂ diag(t) Â⟩ for t [M, R]."""
        return (((self.B @ left) * (self.A @ right.mT)).sum(-1) * target).sum(-1)

    def square_diagonal(self, target: Tensor) -> Tensor:
        """[M]: ‖B̂ diag(t) Â‖²_F for t [M, R]."""
        return (target[:, None, :] @ (self.A * self.B) @ target[:, :, None]).flatten()

    def inner_blocks(self, left: Tensor, right: Tensor, ranks: Sequence[int]) -> Tensor:
        """[M, n]: ⟨B̂ X Y Â, ΔW_i⟩ with each adapter's units alone, for X [M, R, k], Y [M, k, R]."""
        each = ((self.B @ left) * (self.A @ right.mT)).sum(-1)
        return torch.stack([part.sum(-1) for part in each.split(list(ranks), -1)], 1)

    def norm_blocks(self, ranks: Sequence[int]) -> Tensor:
        """[M, n]: ‖ΔW_i‖_F of each adapter's units alone; `ranks` gives the blocks."""
        product = self.A * self.B
        spans = spans_of(ranks)
        return torch.stack([product[:, span, span].sum((-1, -2)) for span in spans], 1).clamp_min(0).sqrt()


def grams(
    group: Sequence[Units], names: Sequence[str], *, exact: bool = False, orders: Sequence[Tensor] | None = None
) -> Grams:
    """Grams of the folded units of each module in the group; CompositionError where a unit is not finite.

    A product rounds by the places of its rows. Where `orders` gives each module's units an order of their own, [R],
    they are multiplied in that, so that the numbers follow from the units alone; the result is laid out as ever.
    """
    dtype = torch.float64 if exact else torch.float32
    count = group[0].count
    both = torch.zeros(2, len(group), count, count, dtype=torch.float64)
    largest = torch.zeros(2, len(group), count, dtype=torch.float64)
    for m, units in enumerate(group):
        for side, blocks, dim in ((0, units.blocks_a(dtype), 0), (1, units.blocks_b(dtype), 1)):
            for _, block in blocks:
                rows = block if orders is None else block.index_select(dim, orders[m])
                _accumulate(both[side, m], largest[side, m], rows.mT if dim else rows)
        if orders is not None:
            back = orders[m].argsort()
            both[:, m], largest[:, m] = both[:, m][:, back[:, None], back], largest[:, m][:, back]
        both[0, m] *= torch.outer(units.fold, units.fold)
        both[1, m] *= torch.outer(units.fold * units.sign, units.fold * units.sign)
        largest[:, m] *= units.fold
    finite = torch.isfinite(both.sum((0, 2, 3)))
    if not finite.all():
        refuse_nonfinite(group[int((~finite).nonzero()[0])], names)
    return Grams(both[0], both[1], torch.maximum(largest[0], largest[1]))


def _accumulate(gram: Tensor, largest: Tensor, rows: Tensor) -> None:
    """Add rows @ rowsᵀ, for rows [R, d], to `gram`, and raise `largest` to the rows' L∞ norms.

    Numpy knows a product with one's own transpose (BLAS syrk) and makes half of it; torch has no such call.
    """
    units = rows.numpy()
    gram += torch.from_numpy(np.dot(units, units.T))
    torch.maximum(largest, torch.maximum(rows.amax(1), -rows.amin(1)), out=largest)
