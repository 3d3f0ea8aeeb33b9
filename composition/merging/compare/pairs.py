"""How adapters stand to each other, over all modules, from their Grams: size, direction, shared spaces, shared start.

- `cosines`: of the whole updates, ⟨ΔW_i, ΔW_j⟩ / (‖ΔW_i‖ ‖ΔW_j‖).
- `row_overlap`, `column_overlap`: mean squared cosine of the principal angles between the row (input) or column
  (output) spaces of two updates, over the modules that both change; 1 where one space lies in the other, about r/d
  for spaces that have nothing to do with each other.
- `aligned`: mean |cosine| between the j-th row of A of one adapter and the j-th of the other, where their ranks are
  equal: near 1 where both were trained from one start, since A moves little.
"""

from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor

from composition.merging.compare.blocks import PooledGrams

DEPENDENT = 1e-6
"""Directions of an adapter's own Gram below this share of its strongest are rounding of float32."""


@dataclass(slots=True)
class PairFigures:
    """Adds up groups of modules; n adapters."""

    count: int
    inner: Tensor = field(init=False)
    sums: dict[str, Tensor] = field(init=False)
    seen: Tensor = field(init=False)
    paired: Tensor = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.count, self.count)
        self.inner = torch.zeros(shape, dtype=torch.float64)
        self.sums = {
            name: torch.zeros(shape, dtype=torch.float64) for name in ("row_overlap", "column_overlap", "aligned")
        }
        self.seen = torch.zeros(shape, dtype=torch.float64)
        self.paired = torch.zeros(shape, dtype=torch.float64)

    def add(self, group: PooledGrams) -> None:
        """Add a group of modules."""
        member, modules = group.member, len(group.modules)
        self.inner += (member @ (group.A * group.B) @ member.mT).double().sum(0)
        ranks = torch.tensor(group.ranks)
        here = (ranks > 0).double()
        self.seen += modules * torch.outer(here, here)
        for name, gram in (("row_overlap", group.A), ("column_overlap", group.B)):
            self.sums[name] += overlaps(gram, group.spans).double().sum(0)
        self._add_aligned(group, ranks)

    def _add_aligned(self, group: PooledGrams, ranks: Tensor) -> None:
        norms = group.A.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()
        inverse = torch.where(norms > 0, 1 / norms, 0.0)
        for i, one in enumerate(group.spans):
            for j, other in enumerate(group.spans):
                if ranks[i] and ranks[i] == ranks[j]:
                    diagonal = group.A[:, one, other].diagonal(dim1=-2, dim2=-1)
                    cosines = (diagonal * inverse[:, one] * inverse[:, other]).abs()
                    self.sums["aligned"][i, j] += float(cosines.mean(-1).double().sum())
                    self.paired[i, j] += len(group.modules)

    @property
    def norms(self) -> Tensor:
        """[n]: ‖ΔW_i‖ over all modules."""
        return self.inner.diagonal().clamp_min(0).sqrt()

    def to_dict(self) -> dict[str, list[list[float | None]]]:
        """The matrices, n × n; None where two adapters have no module in common, or no norm."""
        sizes = torch.outer(self.norms, self.norms)
        matrices = {
            "cosines": torch.where(sizes > 0, self.inner / sizes, torch.nan).clamp(-1, 1),
            "row_overlap": self.sums["row_overlap"] / self.seen,
            "column_overlap": self.sums["column_overlap"] / self.seen,
            "aligned": self.sums["aligned"] / self.paired,
        }
        return {name: plain(matrix) for name, matrix in matrices.items()}


def plain(matrix: Tensor) -> list[list[float | None]]:
    """Rows of floats, None for what is not finite."""
    return [[value if isfinite(value) else None for value in row] for row in matrix.tolist()]


def overlaps(gram: Tensor, spans: list[slice]) -> Tensor:
    """[M, n, n]: ‖Q_iᵀ Q_j‖²_F / min(dim_i, dim_j) for orthonormal bases Q of the spaces whose Gram is [M, R, R]."""
    white, dims = whitened(gram, spans)
    squares = white.square()
    each = torch.stack([squares[:, span].sum(1) for span in spans], 1)
    shared = torch.stack([each[:, :, span].sum(-1) for span in spans], -1)
    smaller = torch.minimum(dims[:, :, None], dims[:, None, :])
    return torch.where(smaller > 0, shared / smaller.clamp_min(1), 0.0).clamp(0, 1)


def whitened(gram: Tensor, spans: list[slice]) -> tuple[Tensor, Tensor]:
    """(the Gram [M, R, R] of orthonormal bases Q of the spaces, block by block Q_iᵀ Q_j; their dimensions [M, n])."""
    white, kept = gram.clone(), []
    for span in spans:
        squares, vectors = torch.linalg.eigh(gram[:, span, span])
        largest = squares[:, -1:].clamp_min(torch.finfo(squares.dtype).tiny) if span.stop > span.start else squares
        real = squares > DEPENDENT * largest
        inverse = torch.where(real, squares.clamp_min(torch.finfo(squares.dtype).tiny).rsqrt(), 0.0)
        into = inverse[:, :, None] * vectors.mT
        white[:, span] = into @ white[:, span]
        white[:, :, span] = white[:, :, span] @ into.mT
        kept.append(real.sum(-1))
    return white, torch.stack(kept, -1)
