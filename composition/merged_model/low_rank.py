"""The best rank-k part of a matrix that is never held: block Krylov iteration over streamed rows.

T [out, in] is known only by sweeps over blocks of its rows. One sweep gives T V and Tᵀ T V for a block V [in, b] of
directions. The blocks of all sweeps span a Krylov space of TᵀT, in which the leading singular triplets are found by
Rayleigh and Ritz: far fewer sweeps than subspace iteration takes (Musco & Musco, 2015, arXiv:1504.05477). It stops when
the residual ‖Tᵀ U − V S‖_F is small beside ‖S‖_F, or when another sweep adds nothing to ‖S‖². All in float64.
"""

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
"""A singular value below this share of the largest is rounding."""

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

    It stops when a sweep adds no more than `gain` to ‖S‖², as a share of it.
    """
    size = min(k + OVERSAMPLED, width)
    generator = torch.Generator().manual_seed(seed)
    block = torch.linalg.qr(torch.randn(width, size, generator=generator, dtype=torch.float64)).Q
    space, energy = _Space(out, width), -1.0
    for sweep in range(1, SWEEPS + 1):
        image, back, square = _sweep(rows, block, out)
        space.add(block, image, back)
        found = space.ritz(min(size, k))
        gained = float(found.S.square().sum()) - energy
        energy += gained
        if found.residual <= RESIDUAL or (sweep > 2 and gained <= gain * energy):
            break
        block = space.next(size)
        if block.shape[1] == 0:
            break
    return Leading(found.U, found.S, found.V, square, found.residual, sweep)


def _sweep(rows: Rows, block: Tensor, out: int) -> tuple[Tensor, Tensor, float]:
    """(T V [out, b], Tᵀ T V [in, b], ‖T‖²_F)."""
    image = torch.zeros(out, block.shape[1], dtype=torch.float64)
    back = torch.zeros_like(block)
    square = 0.0
    for span, some in rows():
        numbers = some.double()
        image[span] = numbers @ block
        back.addmm_(numbers.mT, image[span])
        square += float(numbers.square().sum())
    return image, back, square


@dataclass(slots=True)
class _Ritz:
    U: Tensor
    S: Tensor
    V: Tensor
    residual: float


class _Space:
    """An orthonormal basis V [in, m] with its images T V and Tᵀ T V."""

    def __init__(self, out: int, width: int) -> None:
        self.basis = torch.zeros(width, 0, dtype=torch.float64)
        self.image = torch.zeros(out, 0, dtype=torch.float64)
        self.back = torch.zeros(width, 0, dtype=torch.float64)
        self.last = self.back
        self.turn = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, block: Tensor, image: Tensor, back: Tensor) -> None:
        self.basis = torch.cat([self.basis, block], 1)
        self.image = torch.cat([self.image, image], 1)
        self.back = torch.cat([self.back, back], 1)
        self.last = back

    def ritz(self, k: int) -> _Ritz:
        """The best k triplets within the space."""
        q, r = torch.linalg.qr(self.image)
        u, values, turn = torch.linalg.svd(r, full_matrices=False)
        self.turn = turn.mT
        U, V, values = q @ u[:, :k], self.basis @ self.turn[:, :k], values[:k]
        size = float(values.norm())
        told = values > ZERO * values[:1]
        inverse = torch.where(told, 1 / torch.where(told, values, 1.0), 0.0)
        off = (self.back @ self.turn[:, :k]) * inverse - V * values * told
        return _Ritz(U, values, V, float(off.norm()) / size if size > 0 else 0.0)

    def next(self, size: int) -> Tensor:
        """The next block [in, ≤ size], orthonormal and orthogonal to the space; empty where nothing is left."""
        if self.basis.shape[1] + size > min(BASIS, len(self.basis)):
            best = self.turn[:, :size]
            self.basis, self.image, self.last = self.basis @ best, self.image @ best, self.back @ best
            self.back = self.last
        fresh, strength = self.last, float(self.last.norm())
        for _ in range(2):
            fresh = fresh - self.basis @ (self.basis.mT @ fresh)
        q, r = torch.linalg.qr(fresh)
        q = q[:, r.diagonal().abs() > ZERO * strength]
        q = q - self.basis @ (self.basis.mT @ q)
        return torch.linalg.qr(q).Q
