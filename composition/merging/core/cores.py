"""Adapters of one module as small cores in shared orthonormal bases, where most merges cost nothing.

    B̂ = Q_B L,   Âᵀ = Q_A Rᵀ,   ΔW_i = Q_B (L_i R_i) Q_Aᵀ        L [p, Σr], R [Σr, q], Q_B and Q_A orthonormal

B̂ and Â are the folded units of all adapters (`units`). The bases are the left singular vectors of B̂ and the right ones
of Â, as Core Space takes them (Panariello et al., 2025, arXiv:2509.17786), so that L Lᵀ and Rᵀ R are diagonal and fall.
Norms, angles, singular values and every combination of the ΔW_i are those of the cores L_i R_i: nothing is lost.

L and R follow from the R × R Grams: G_B = V Λ Vᵀ gives L = Λ^½ Vᵀ and Q_B = B̂ V Λ^-½. Where units are nearly
dependent, Grams in float32 don't tell; there a QR of the units in float64 gives them. Directions below 1e-10 of the
strongest are rounding and are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from composition.merging.gram import Grams
from composition.merging.units import Units

CONDITION = 1e5
"""Condition number of a Gram of normalised units up to which float32 products of it are good enough."""
ZERO = 1e-10
"""Directions below this share of the strongest are rounding."""
GROWTH = 10.0
"""How much larger the numbers of a lift may be than its result before it is made in float64."""

Lift = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Cores:
    """One module's adapters: left L [p, R], right R [R, q], float64, and the ranks of the adapters' blocks (0: absent).

    `lift` takes factors in the bases, U [p, k] and V [k, q], to (B' [out, k], A' [k, in]) of Q_B U V Q_Aᵀ; None where
    the cores come from Grams alone.
    """

    left: Tensor
    right: Tensor
    ranks: tuple[int, ...]
    lift: Lift | None = None

    @property
    def spans(self) -> list[slice]:
        """Where each adapter's units stand."""
        ends = torch.tensor(self.ranks).cumsum(0).tolist()
        return [slice(end - rank, end) for end, rank in zip(ends, self.ranks, strict=True)]

    @property
    def present(self) -> list[int]:
        """The places of the adapters that have the module."""
        return [place for place, rank in enumerate(self.ranks) if rank]

    def factors(self, adapter: int) -> tuple[Tensor, Tensor]:
        """(L_i [p, r], R_i [r, q]) of one adapter."""
        span = self.spans[adapter]
        return self.left[:, span], self.right[span]

    def updates(self) -> Tensor:
        """[n, p, q]: the core of each adapter; zero where it lacks the module."""
        return torch.stack([self.left[:, span] @ self.right[span] for span in self.spans])

    def whole(self, weights: Sequence[float] | Tensor) -> Tensor:
        """[p, q]: the core of Σ w_i ΔW_i, for one weight an adapter."""
        each = torch.as_tensor(weights, dtype=torch.float64).repeat_interleave(torch.tensor(self.ranks))
        return (self.left * each) @ self.right


def cores_of_grams(gram_a: Tensor, gram_b: Tensor, ranks: Sequence[int], sign: Tensor | None = None) -> Cores:
    """Cores from the Grams [R, R] of folded units alone, without a lift. Their digits are those of the Grams.

    `sign` [R] is for Grams of B whose signs are not folded in yet.
    """
    left, right = _coordinates(gram_b), _coordinates(gram_a)
    return Cores(left if sign is None else left * sign, right.mT, tuple(ranks))


def cores_of(units: Units, gram: Grams, m: int = 0) -> Cores:
    """The cores of a module that stands at place m of a group's Grams, with a lift."""
    gram_a, gram_b = gram.A[m], gram.B[m]
    if not (_well_conditioned(gram_a) and _well_conditioned(gram_b)):
        return _by_qr(units)
    bare = cores_of_grams(gram_a, gram_b, units.ranks)
    if min(len(bare.left), bare.right.shape[1]) < units.count:
        return _by_qr(units)
    into_b = bare.left.mT / bare.left.square().sum(1)  # V Λ^-½ [R, p]
    into_a = bare.right / bare.right.square().sum(0)  # V Λ^-½ [R, q]

    def lift(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        left, right = into_b @ u, v @ into_a.mT
        grown = torch.maximum(_growth(gram_b.diagonal(), left, u), _growth(gram_a.diagonal(), right.mT, v.mT))
        if bool((grown > GROWTH).any()):
            A, B = units.stacked()
            return B @ left, right @ A
        return units.combine(left, right)

    return Cores(bare.left, bare.right, bare.ranks, lift)


def _coordinates(gram: Tensor) -> Tensor:
    """Λ^½ Vᵀ [p, R] of a Gram [R, R], strongest first."""
    squares, vectors = torch.linalg.eigh(gram)
    squares, vectors = squares.flip(0), vectors.flip(1)
    kept = int((squares > ZERO * squares[:1].clamp_min(torch.finfo(torch.float64).tiny)).sum())
    return squares[:kept].sqrt()[:, None] * vectors[:, :kept].mT


def _well_conditioned(gram: Tensor) -> bool:
    norms = gram.diagonal().sqrt()
    if not bool((norms > 0).all()):
        return False
    squares = torch.linalg.eigvalsh(gram / torch.outer(norms, norms))
    return bool(squares[-1] < CONDITION * squares[0])


def _growth(norms: Tensor, into: Tensor, made: Tensor) -> Tensor:
    """[k]: size of what is added up over the size of the sum, for each column of a lift."""
    return (norms @ into.square()).sqrt() / made.square().sum(0).sqrt().clamp_min(torch.finfo(torch.float64).tiny)


def _by_qr(units: Units) -> Cores:
    """The same by QR of the units in float64, with its own bases."""
    A, B = units.stacked()
    (basis_b, left), (basis_a, right) = _basis(B), _basis(A.mT)
    return Cores(left, right.mT, units.ranks, lambda u, v: (basis_b @ u, v @ basis_a.mT))


def _basis(columns: Tensor) -> tuple[Tensor, Tensor]:
    """(Q [d, p] orthonormal, coordinates [p, R]) of columns [d, R], strongest direction first."""
    q, r = torch.linalg.qr(columns)
    u, values, vh = torch.linalg.svd(r, full_matrices=False)
    kept = int((values > ZERO * values[:1]).sum())
    return q @ u[:, :kept], values[:kept, None] * vh[:kept]
