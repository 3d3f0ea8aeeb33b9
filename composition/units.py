"""The rank-1 units (minimal semantic units, MSUs) of several adapters at one module, pooled.

Unit i is (a_i, b_i): a row of A and the column of B beside it. ΔW of an adapter is the sum of its b_i a_iᵀ, so the
order of units means nothing and stacking the units of adapters adds their ΔW. Units keep their stored values; the
factor √|s| that balances both halves, and the sign that goes with b, stand beside them as `fold` and `sign`, so that
all further arithmetic is on R numbers instead of R·d.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.weights import LoraWeights

GROUP_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Units:
    """R units of n adapters: A [R, in] and B [out, R] as stored, fold and sign [R], ranks [n] (0 where absent)."""

    module: str
    A: Tensor
    B: Tensor
    fold: Tensor
    sign: Tensor
    ranks: tuple[int, ...]

    @property
    def count(self) -> int:
        """R = Σ r."""
        return self.A.shape[0]

    @property
    def owner(self) -> Tensor:
        """[R]: which adapter each unit comes from."""
        return torch.repeat_interleave(torch.arange(len(self.ranks)), torch.tensor(self.ranks))

    def scatter(self, per_adapter: Sequence[float]) -> Tensor:
        """[R] float64: each unit's adapter's number."""
        return torch.tensor(per_adapter, dtype=torch.float64)[self.owner]

    def combine(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """(B̂ @ left, right @ Â) in float32, for left [R, k] and right [k, R], where ˆ means folded."""
        left = (self.fold * self.sign)[:, None] * left
        right = right * self.fold
        return self.B @ left.to(self.B.dtype), right.to(self.A.dtype) @ self.A

    def largest(self) -> Tensor:
        """[R] float64: the L∞ norm of each folded unit, over both halves."""
        a = torch.maximum(self.A.amax(1), -self.A.amin(1))
        b = torch.maximum(self.B.amax(0), -self.B.amin(0))
        return torch.maximum(a, b).double() * self.fold


def pool(adapters: Sequence[LoraWeights], module: str, dtype: torch.dtype = torch.float32) -> Units:
    """The units of `module` in all adapters that have it, in their order, copied into `dtype`."""
    present = [(i, adapter.module_facts(module)) for i, adapter in enumerate(adapters) if module in adapter]
    ranks = [0] * len(adapters)
    for i, fact in present:
        ranks[i] = fact.r
    total, first = sum(ranks), present[0][1]
    A = torch.empty(total, first.in_features, dtype=dtype)
    B = torch.empty(first.out_features, total, dtype=dtype)
    fold, sign = torch.empty(total, dtype=torch.float64), torch.empty(total, dtype=torch.float64)
    begin = 0
    for i, fact in present:
        factors = adapters[i][module]
        span = slice(begin, begin := begin + fact.r)
        A[span].copy_(factors.A)
        B[:, span].copy_(factors.B)
        fold[span] = abs(factors.scale) ** 0.5
        sign[span] = -1.0 if factors.scale < 0 else 1.0
    return Units(module, A, B, fold, sign, tuple(ranks))


def module_names(adapters: Sequence[LoraWeights]) -> list[str]:
    """Every module that any adapter has, sorted."""
    return sorted({module for adapter in adapters for module in adapter})


def groups(adapters: Sequence[LoraWeights], budget: int = GROUP_BYTES) -> Iterator[list[Units]]:
    """All modules' units, in groups of equal ranks within `budget` bytes of float32: small algebra goes in batches."""
    alike: dict[tuple[int, ...], list[tuple[str, int]]] = {}
    for module in module_names(adapters):
        facts = [adapter.module_facts(module) if module in adapter else None for adapter in adapters]
        ranks = tuple(fact.r if fact else 0 for fact in facts)
        size = max(4 * sum(ranks) * (fact.in_features + fact.out_features) for fact in facts if fact)
        alike.setdefault(ranks, []).append((module, size))
    for modules in alike.values():
        group: list[Units] = []
        held = 0
        for module, size in modules:
            if group and held + size > budget:
                yield group
                group, held = [], 0
            group.append(pool(adapters, module))
            held += size
        yield group


def refuse_nonfinite(units: Units, names: Sequence[str]) -> None:
    """Raise CompositionError that names the adapter, once a unit is known to hold NaN or infinity."""
    wrong = ~(torch.isfinite(units.A).all(1) & torch.isfinite(units.B).all(0))
    adapter = names[int(units.owner[wrong][0])] if wrong.any() else "an adapter"
    raise CompositionError(
        "weights.nonfinite",
        f"{units.module} of {adapter} holds NaN or infinite values; expected finite ones. Train or export it again.",
        module=units.module,
        adapter=adapter,
    )
