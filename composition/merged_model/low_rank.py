"""The best rank-k part of a matrix that is never held: block Krylov iteration over streamed rows.

T [out, in] is known only by sweeps over blocks of its rows. One sweep gives T V and Tᵀ T V for a block V [in, b] of
directions. The blocks of all sweeps span a Krylov space of TᵀT, in which the leading singular triplets are found by
Rayleigh and Ritz: far fewer sweeps than subspace iteration takes (Musco & Musco, 2015, arXiv:1504.05477). It stops when
the residual ‖Tᵀ U − V S‖_F is small beside ‖S‖_F, or when another sweep adds nothing to ‖S‖². All in float64.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

OVERSAMPLED = 8
"""Directions a block has beyond k."""
RESIDUAL = 1e-8
"""‖Tᵀ U − V S‖_F beside ‖S‖_F at which it stops."""
GAIN = 1e-13
"""Growth of ‖S‖² by a sweep, beside ‖S‖², at which it stops: what could still turn, turns among equals."""
BASIS = 512
"""Directions of the Krylov space before it starts anew from the best ones."""
SWEEPS = 60
"""It stops after so many sweeps; the residual then says how near it came."""
ZERO = 1e-12
"""What is left of a direction below this share is rounding."""
SMALL = 1e-12
"""A squared singular value below this share of the largest has no digits in a Gram."""

Rows = Callable[[], Iterable[tuple[slice, Tensor]]]
"""A sweep: (rows, their numbers [rows, in]) in any order; each call must give the same."""


@dataclass(frozen=True, slots=True)
class Leading:
    """T ≈ U diag(S) Vᵀ: U [out, k], S [k] falling, V [in, k], float64; ‖T‖²_F; how it went."""

    U: Tensor
    S: Tensor
    V: Tensor
    square: float
    residual: float
    sweeps: int

    @property
    def retained(self) -> float:
        """The share of ‖T‖²_F that is kept."""
        return min(1.0, float(self.S.square().sum()) / self.square) if self.square > 0 else 1.0

    def cut(self, energy: float) -> int:
        """The smallest rank that keeps the share `energy` of ‖T‖²_F; k where none does, 1 at least."""
        enough = (self.S.square().cumsum(0) >= energy * self.square).nonzero()
        return int(enough[0]) + 1 if len(enough) else len(self.S)


def leading(rows: Rows, out: int, width: int, k: int, *, seed: int = 0, gain: float = GAIN) -> Leading:
    """The k leading singular triplets of T [out, width], k ≤ min(out, width); the same seed gives the same bits.

    It stops when a sweep adds no more than `gain` to ‖S‖², as a share of it. Raises FloatingPointError where T holds
    numbers that are not finite.
    """
    size = min(k + OVERSAMPLED, width)
    generator = torch.Generator().manual_seed(seed)
    block = torch.linalg.qr(torch.randn(width, size, generator=generator, dtype=torch.float64)).Q
    space, energy, square = _Space(out, width), 0.0, 0.0
    for sweep in range(1, SWEEPS + 1):
        image, back, added = _sweep(rows, block, out, measured=sweep > 1)
        square += added
        if not math.isfinite(square):
            raise FloatingPointError("The matrix holds numbers that are not finite.")
        space.add(block, image, back)
        kept, residual = space.found(min(k, size))
        if residual <= RESIDUAL or (sweep > 2 and kept - energy <= gain * kept):
            break
        energy, block = kept, space.next(size)
        if block.shape[1] == 0:
            break
    U, S, V = space.best(k)
    return Leading(U, S, V, square, residual, sweep)


def _sweep(rows: Rows, block: Tensor, out: int, *, measured: bool) -> tuple[Tensor, Tensor, float]:
    """(T V [out, b], Tᵀ T V [in, b], ‖T‖²_F, 0 where it is measured already)."""
    image = torch.zeros(out, block.shape[1], dtype=torch.float64)
    back = torch.zeros_like(block)
    square = 0.0
    for span, some in rows():
        numbers = some.double()
        torch.mm(numbers, block, out=image[span])
        back.addmm_(numbers.mT, image[span])
        square += 0.0 if measured else float(numbers.square().sum())
    return image, back, square


class _Space:
    """An orthonormal basis V [in, m] with its images T V and Tᵀ T V, and the Gram of T V [m, m]."""

    def __init__(self, out: int, width: int) -> None:
        self.basis = torch.zeros(width, 0, dtype=torch.float64)
        self.image = torch.zeros(out, 0, dtype=torch.float64)
        self.back = torch.zeros(width, 0, dtype=torch.float64)
        self.gram = torch.zeros(0, 0, dtype=torch.float64)
        self.last = self.back
        self.turn = self.gram

    def add(self, block: Tensor, image: Tensor, back: Tensor) -> None:
        """Widen the space by a block that is orthogonal to it."""
        across, own = self.image.mT @ image, image.mT @ image
        self.gram = torch.cat([torch.cat([self.gram, across], 1), torch.cat([across.mT, own], 1)])
        self.basis = torch.cat([self.basis, block], 1)
        self.image = torch.cat([self.image, image], 1)
        self.back = torch.cat([self.back, back], 1)
        self.last = back

    def found(self, k: int) -> tuple[float, float]:
        """(‖S‖² of the best k triplets within the space, their residual beside ‖S‖)."""
        squares, turn = torch.linalg.eigh(self.gram)
        squares, self.turn = squares.flip(0)[:k].clamp_min(0), turn.flip(1)
        kept = float(squares.sum())
        if kept == 0:
            return 0.0, 0.0
        told = int((squares > SMALL * squares[0]).sum())
        values, turn = squares[:told].sqrt(), self.turn[:, :told]
        off = (self.back @ turn) / values - (self.basis @ turn) * values
        return kept, float(off.norm()) / math.sqrt(kept)

    def best(self, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """(U [out, k], S [k], V [in, k]) within the space, with all digits."""
        q, r = torch.linalg.qr(self.image)
        u, values, turn = torch.linalg.svd(r, full_matrices=False)
        return q @ u[:, :k], values[:k], self.basis @ turn[:k].mT

    def next(self, size: int) -> Tensor:
        """The next block [in, ≤ size], orthonormal and orthogonal to the space; empty where nothing is left."""
        if self.basis.shape[1] + size > min(BASIS, len(self.basis)):
            self._shrink(self.turn[:, :size])
        fresh, strength = self.last, float(self.last.norm())
        for _ in range(2):
            fresh = fresh - self.basis @ (self.basis.mT @ fresh)
        q, r = torch.linalg.qr(fresh)
        q = q[:, r.diagonal().abs() > ZERO * strength]
        q = q - self.basis @ (self.basis.mT @ q)
        return torch.linalg.qr(q).Q

    def _shrink(self, turn: Tensor) -> None:
        """To the directions [m, b] of the basis."""
        self.basis, self.image, self.back = self.basis @ turn, self.image @ turn, self.back @ turn
        self.gram, self.last = turn.mT @ self.gram @ turn, self.back
