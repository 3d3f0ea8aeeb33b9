"""Adapters of one module as small cores in shared orthonormal bases, where most merges cost nothing.

B̂ = Q_B L,   Âᵀ = Q_A Rᵀ,   ΔW_i = Q_B (L_i R_i) Q_Aᵀ        L [p, Σr], R [Σr, q], Q_B and Q_A orthonormal

B̂ and Â are the folded units of all adapters (`units`). Norms, angles, singular values and every combination of the
ΔW_i are those of the cores L_i R_i: nothing is lost (Panariello et al., 2025, arXiv:2509.17786). Which orthonormal
bases these are is left open; a method that works on single numbers turns them into some that mean something (`turns`).

L and R are Cholesky factors of the R × R Grams: G_B = Lᵀ L, Q_B = B̂ L⁻¹. The digits of Q_B are those of the Gram over
its condition, so Grams of float32 products serve well-spread units, Grams in float64 the others, and a QR of the units
in float64 those that are nearly dependent. Directions below 1e-10 of the strongest are rounding and are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from composition.merging.gram import Grams, grams
from composition.merging.units import Units, spans_of

SINGLE = 1e3
"""Bound on the condition number of a Gram of normalised units up to which float32 products of it are good enough."""
DOUBLE = 1e9
"""The same for products in float64."""
ZERO = 1e-10
"""Directions below this share of the strongest are rounding."""
GROWTH = 10.0
"""How much larger the numbers of a lift may be than its result before it is made in float64."""

Lift = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Cores:
    """One module's adapters: left L [p, R], right R [R, q], float64, and the ranks of the adapters' blocks (0: absent).

    `fold` [R] is the √|scale| that both halves of each unit carry; empty where that isn't known.
    `lift` takes factors in the bases, U [p, k] and V [k, q], to (B' [out, k], A' [k, in]) of Q_B U V Q_Aᵀ; None where
    the cores come from Grams alone.
    """

    left: Tensor
    right: Tensor
    ranks: tuple[int, ...]
    lift: Lift | None = None
    module: str = ""
    fold: Tensor = field(default_factory=lambda: torch.ones(0, dtype=torch.float64))

    @property
    def spans(self) -> list[slice]:
        """Where each adapter's units stand."""
        return spans_of(self.ranks)

    @property
    def present(self) -> list[int]:
        """The places of the adapters that have the module."""
        return [place for place, rank in enumerate(self.ranks) if rank]

    def factors(self, adapter: int) -> tuple[Tensor, Tensor]:
        """(L_i [p, r], R_i [r, q]) of one adapter."""
        return self.pairs()[adapter]

    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """(L_i [p, r], R_i [r, q]) of every adapter; r is 0 where it lacks the module."""
        return [(self.left[:, span], self.right[span]) for span in self.spans]

    def updates(self) -> Tensor:
        """[n, p, q]: the core of each adapter; zero where it lacks the module."""
        return torch.stack([left @ right for left, right in self.pairs()])

    def norms(self) -> Tensor:
        """[n]: ‖ΔW_i‖_F."""
        squares = [((left.mT @ left) * (right @ right.mT)).sum() for left, right in self.pairs()]
        return torch.stack(squares).clamp_min(0).sqrt()

    def whole(self, weights: Sequence[float] | Tensor) -> Tensor:
        """[p, q]: the core of Σ w_i ΔW_i, for one weight an adapter."""
        each = torch.as_tensor(weights, dtype=torch.float64).repeat_interleave(torch.tensor(self.ranks))
        return (self.left * each) @ self.right

    def turns(self) -> tuple[Tensor, Tensor]:
        """(T [p, p], S [q, q]), orthonormal: Tᵀ C S is a core C in the left singular vectors of B̂, right ones of Â."""
        left, right = (torch.linalg.svd(one, full_matrices=False) for one in (self.left, self.right))
        return left.U, right.Vh.mT


def cores_of_grams(
    gram_a: Tensor, gram_b: Tensor, ranks: Sequence[int], sign: Tensor | None = None, module: str = ""
) -> Cores:
    """Cores from the Grams [R, R] of folded units alone, without a lift. Their digits are those of the Grams.

    `sign` [R] is for Grams of B whose signs are not folded in yet.
    """
    left, right = _coordinates(gram_b), _coordinates(gram_a)
    return Cores(left if sign is None else left * sign, right.mT, tuple(ranks), module=module)


def cores_of(units: Units, gram: Grams, m: int = 0) -> Cores:
    """The cores of a module that stands at place m of a group's Grams, with a lift."""
    if units.count > min(units.in_features, units.out_features):
        return _by_qr(units)
    pair = gram.A[m], gram.B[m]
    split = [_triangle(one, SINGLE) for one in pair]
    if None in split:
        again = grams([units], [""] * len(units.ranks), exact=True)
        pair = again.A[0], again.B[0]
        split = [_triangle(one, DOUBLE) for one in pair]
    if split[0] is None or split[1] is None:
        return _by_qr(units)
    (lower_a, into_a), (lower_b, into_b) = split[0], split[1]
    norms_a, norms_b = pair[0].diagonal(), pair[1].diagonal()

    def lift(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        left, right = into_b.mT @ u, v @ into_a
        if _grows(norms_b, left, u) or _grows(norms_a, right.mT, v.mT):
            A, B = units.stacked()
            return B @ left, right @ A
        return units.combine(left, right)

    return Cores(lower_b.mT, lower_a, units.ranks, lift, units.module, units.fold)


def _triangle(gram: Tensor, bound: float) -> tuple[Tensor, Tensor] | None:
    """(L, L⁻¹) of G = L Lᵀ, or None where the condition of the Gram of normalised units may be above a bound."""
    norms = gram.diagonal().sqrt()
    if not bool((norms > 0).all()):
        return None
    even = gram / torch.outer(norms, norms)
    lower, failed = torch.linalg.cholesky_ex(even)
    if failed:
        return None
    inverse = torch.linalg.solve_triangular(lower, torch.eye(len(gram), dtype=gram.dtype), upper=False)
    condition = even.abs().sum(0).max() * inverse.abs().sum(0).max() * inverse.abs().sum(1).max()
    return (norms[:, None] * lower, inverse / norms) if condition < bound else None


def _coordinates(gram: Tensor) -> Tensor:
    """[p, R] with this Gram [R, R]: its Cholesky factor, or Λ^½ Vᵀ where units are nearly dependent."""
    split = _triangle(gram, DOUBLE)
    if split is not None:
        return split[0].mT
    squares, vectors = torch.linalg.eigh(gram)
    kept = squares > ZERO * squares[-1:].clamp_min(torch.finfo(torch.float64).tiny)
    return squares[kept].sqrt()[:, None] * vectors[:, kept].mT


def _grows(norms: Tensor, into: Tensor, made: Tensor) -> bool:
    """Whether what a lift adds up for some column is much larger than the sum: norms [R], into [R, k], made [p, k]."""
    return bool(((norms @ into.square()) > GROWTH**2 * made.square().sum(0)).any())


def _by_qr(units: Units) -> Cores:
    """The same by QR of the units in float64, with its own bases."""
    A, B = units.stacked()
    (basis_b, left), (basis_a, right) = _basis(B), _basis(A.mT)
    return Cores(left, right.mT, units.ranks, lambda u, v: (basis_b @ u, v @ basis_a.mT), units.module, units.fold)


def _basis(columns: Tensor) -> tuple[Tensor, Tensor]:
    """(Q [d, p] orthonormal, coordinates [p, R]) of columns [d, R], strongest direction first."""
    q, r = torch.linalg.qr(columns)
    u, values, vh = torch.linalg.svd(r, full_matrices=False)
    kept = int((values > ZERO * values[:1]).sum())
    return q @ u[:, :kept], values[:kept, None] * vh[:kept]
