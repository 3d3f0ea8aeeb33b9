"""What makes a state's directions count alike: M = f(S), for S: [..., R1, R2].

    svd         M = U_q V_qᵀ of S = U diag(s) Vᵀ: the q largest singular values become 1, the others 0   (published)
    polar       Newton–Schulz towards U Vᵀ: products alone, for training where q = R1 = R2
    frobenius   S / ‖S‖_F                                                                  (an ablation of the paper)
    none        S

The derivative of the truncated polar factor is taken in closed form (Daleckii–Kreĭn). With dS = U E Vᵀ in the basis
of S, kept values i, j and dropped ones k:
    dM_ij = (E_ij − E_ji) / (s_i + s_j),      dM_ik = (s_i E_ik + s_k E_ki) / (s_i² − s_k²), likewise dM_ki
so equal values among the kept do no harm, which differentiating U and V one by one would turn into infinities; only
s_q = s_{q+1} at the cut does, and such a sample passes no gradient. A direction below `FLOOR` · s_1 carries nothing
but rounding and is left out: a text of fewer than q tokens gives an adapter of fewer than q directions.
"""

from typing import Any

import torch
from torch import Tensor

from composition.errors import CompositionError

FLOOR = 1e-6
CLOSE = 1e-7
STEPS = 8
# a X + b X Xᵀ X + c (X Xᵀ)² X: fixed point 1, slope 0 there, and 3.4 at 0 so that small values rise fast.
QUINTIC = (3.4445, -4.7750, 2.0315)
LAST_STEPS = 3
CUBIC_QUINTIC = (1.875, -1.25, 0.375)


def normalise(state: Tensor, norm: str, rank: int) -> Tensor:
    """M [..., R1, R2] of S [..., R1, R2] by the named norm; a state of zeros gives zeros."""
    if norm == "svd":
        return TruncatedPolar.apply(state, rank)  # type: ignore[no-untyped-call]
    if norm == "polar":
        return newton_schulz(state)
    if norm == "frobenius":
        return state / _size(state)
    return state


def svd(state: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """(U [..., R1, q], kept [..., q], V [..., R2, q]), exact; the largest entry of each column of U is positive.

    Columns that are not kept are zero. Errors: `generator.not_finite`.
    """
    if not torch.isfinite(state).all():
        raise CompositionError(
            "generator.not_finite",
            "The state holds infinite values or NaN: the base or the generator overflowed. Use float32.",
        )
    u, s, vh = torch.linalg.svd(state, full_matrices=False)
    u, v = u[..., :rank], vh[..., :rank, :].mT
    sign = torch.gather(u, -2, u.abs().argmax(-2, keepdim=True)).sign()
    kept = _kept(s, rank)[..., :rank]
    mask = kept.unsqueeze(-2).to(u.dtype)
    return u * sign * mask, kept, v * sign * mask


def newton_schulz(state: Tensor, steps: int = STEPS) -> Tensor:
    """Towards U Vᵀ by `steps` odd polynomials of S / ‖S‖_F; singular values below about 1e-3 · ‖S‖_F stay below 1."""
    x = state / _size(state)
    wide = x.shape[-2] > x.shape[-1]
    x = x.mT if wide else x
    for step in range(steps):
        a, b, c = QUINTIC if step < steps - LAST_STEPS else CUBIC_QUINTIC
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if wide else x


class TruncatedPolar(torch.autograd.Function):
    """S [..., R1, R2] → U_q V_qᵀ, with its exact derivative."""

    @staticmethod
    def forward(ctx: Any, state: Tensor, rank: int) -> Tensor:
        u, s, vh = torch.linalg.svd(state, full_matrices=False)
        kept = _kept(s, rank)
        ctx.save_for_backward(u, s, vh, kept)
        return (u * kept.unsqueeze(-2)) @ vh

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        u, s, vh, kept = ctx.saved_tensors
        f = kept.to(s.dtype)
        inner = u.mT @ grad @ vh.mT  # G in the basis of S: [..., p, p], p = min(R1, R2)
        plus, minus = s.unsqueeze(-1) + s.unsqueeze(-2), s.unsqueeze(-1) - s.unsqueeze(-2)
        odd = _divided(f.unsqueeze(-1) + f.unsqueeze(-2), plus)
        even = _divided(f.unsqueeze(-1) - f.unsqueeze(-2), minus)
        core = even * (inner + inner.mT) / 2 + odd * (inner - inner.mT) / 2
        result = u @ core @ vh
        outward = _divided(f, s)
        if u.shape[-2] > vh.shape[-1]:
            rest = grad @ vh.mT - u @ inner
            result = result + (rest * outward.unsqueeze(-2)) @ vh
        elif u.shape[-2] < vh.shape[-1]:
            rest = u.mT @ grad - inner @ vh
            result = result + u @ (rest * outward.unsqueeze(-1))
        return result * _apart(s, kept)[..., None, None], None


def _kept(s: Tensor, rank: int) -> Tensor:
    place = torch.arange(s.shape[-1], device=s.device)
    return (place < rank) & (s > FLOOR * s[..., :1]) & (s > 0)


def _apart(s: Tensor, kept: Tensor) -> Tensor:
    """1 where the last kept value is clearly above the first dropped one, else 0."""
    last = torch.where(kept, s, torch.inf).amin(-1)
    first = torch.where(kept, 0.0, s).amax(-1)
    return (last - first > CLOSE * s[..., 0]).to(s.dtype)


def _divided(above: Tensor, below: Tensor) -> Tensor:
    """above / below where above is not zero, else 0."""
    needed = (above != 0) & (below != 0)
    return torch.where(needed, above / torch.where(needed, below, torch.ones_like(below)), 0.0)


def _size(state: Tensor) -> Tensor:
    size = torch.linalg.matrix_norm(state, keepdim=True)
    return torch.where(size > 0, size, torch.ones_like(size))
