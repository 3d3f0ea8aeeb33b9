"""A rule on the numbers of A and of B apart, as PEFT's `add_weighted_adapter` has it without svd.

    A' = rule(c_1 A_1, …),   B' = rule(|c_1| B_1, …),   c_i = ± √|w_i s_i|

The rank is the adapters' own. ΔW' has cross terms b_i a_jᵀ, and both what is trimmed and whose sign wins depend on how
each adapter happens to split its ΔW (its gauge): the same update in other factors gives another merge. `balanced`
brings every adapter to the factors of its singular value decomposition first, which takes that away.
"""

from functools import partial

import torch
from torch import Tensor

from composition.merging.elementwise.gauge import canonical
from composition.merging.elementwise.rules import combined, prepared
from composition.merging.units import Units
from composition.recipes.merge.elementwise import Election, Leaving


def halves(units: Units, *, balanced: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(A [n, r, in], B [n, out, r], scales [n]) of the adapters that have the module, of one rank, in float32."""
    if balanced:
        pairs, scales = [canonical(f) for f in units.factors], [1.0] * len(units.factors)
    else:
        pairs, scales = [(f.A, f.B) for f in units.factors], [f.scale for f in units.factors]
    A, B = (torch.stack([half.float() for half in side]) for side in zip(*pairs, strict=True))
    return A, B, torch.tensor(scales, dtype=torch.float64)


def merge_factors(
    units: Units, weights: Tensor, leaving: Leaving, election: Election | None, *, balanced: bool = False
) -> tuple[Tensor, Tensor]:
    """(A' [r, in], B' [out, r]) float32 of one module; `weights` [n] float64 are those of the adapters that have it."""
    A, B, scales = halves(units, balanced=balanced)
    strength = weights * scales
    root = strength.abs().sqrt()
    shares = weights.abs().sqrt().float()
    present = [place for place, rank in enumerate(units.ranks) if rank]
    merged = []
    for name, half, each in (("A", A, root * strength.sign()), ("B", B, root)):
        rule = prepared(leaving, f"{units.module}.{name}", partial(_whole, half), half[0].numel(), present)
        merged.append(combined(rule.begin()(half), each.float(), election, shares))
    return merged[0], merged[1]


def _whole(half: Tensor) -> list[Tensor]:
    """One block."""
    return [half]
