"""The rank-1 units (minimal semantic units, MSUs) of several adapters at one module, pooled.

Unit i is (a_i, b_i): a row of A and the column of B beside it. ΔW of an adapter is the sum of its b_i a_iᵀ, so the
order of units means nothing and stacking the units of adapters adds their ΔW. Units keep their stored values; the
factor √|s| that balances both halves, and the sign that goes with b, stand beside them as `fold` and `sign`, so that
further arithmetic is on R numbers instead of R·d. They are never stacked whole: `blocks_a` and `blocks_b` walk them in
slices that fit a processor's cache, straight from the (mapped) files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.weights import Factors, LoraWeights

GROUP_BYTES = 128 * 2**20
BLOCK = 2048
PEEK = 4
"""How many numbers of each half are compared before whole units are."""


@dataclass(frozen=True, slots=True)
class Units:
    """R units of n adapters: the factors of those that have the module, fold and sign [R], ranks [n] (0: absent)."""

    module: str
    factors: tuple[Factors, ...]
    fold: Tensor
    sign: Tensor
    ranks: tuple[int, ...]

    @property
    def count(self) -> int:
        """R = Σ r."""
        return sum(self.ranks)

    @property
    def in_features(self) -> int:
        return self.factors[0].in_features

    @property
    def out_features(self) -> int:
        return self.factors[0].out_features

    @property
    def owner(self) -> Tensor:
        """[R]: which adapter each unit comes from."""
        return torch.repeat_interleave(torch.arange(len(self.ranks)), torch.tensor(self.ranks))

    def scatter(self, per_adapter: Sequence[float]) -> Tensor:
        """[R] float64: each unit's adapter's number."""
        return torch.tensor(per_adapter, dtype=torch.float64)[self.owner]

    def blocks_a(self, dtype: torch.dtype = torch.float32) -> Iterator[tuple[slice, Tensor]]:
        """(columns, [R, columns]) of the stacked A as stored, in `dtype`."""
        for begin in range(0, self.in_features, BLOCK):
            span = slice(begin, min(begin + BLOCK, self.in_features))
            yield span, torch.cat([f.A[:, span] for f in self.factors], 0).to(dtype)

    def blocks_b(self, dtype: torch.dtype = torch.float32) -> Iterator[tuple[slice, Tensor]]:
        """(rows, [rows, R]) of the stacked B as stored, in `dtype`."""
        for begin in range(0, self.out_features, BLOCK):
            span = slice(begin, min(begin + BLOCK, self.out_features))
            yield span, torch.cat([f.B[span] for f in self.factors], 1).to(dtype)

    def content_order(self, weights: Tensor) -> Tensor:
        """[R]: the units from the smallest content to the largest, whatever order they come in.

        Compared are scale, weight ([R]) and the numbers as stored: a few, and all of those units that agree in them.
        Units that are equal in everything keep their order.
        """
        few = [torch.cat([f.A[:, :PEEK] for f in self.factors], 0), torch.cat([f.B[:PEEK] for f in self.factors], 1).mT]
        keys = np.vstack([torch.cat([t.double() for t in few], 1).mT.numpy(), self.fold * self.sign, weights])
        order = np.lexsort(keys)
        equal = (keys[:, order[1:]] == keys[:, order[:-1]]).all(0)
        for begin, end in _runs(equal):
            order[begin:end] = sorted(order[begin:end], key=self._content)
        return torch.from_numpy(order)

    def _content(self, unit: int) -> bytes:
        """All numbers of one unit."""
        for f in self.factors:
            if unit < f.rank:
                return torch.cat([f.A[unit].double(), f.B[:, unit].double()]).numpy().tobytes()
            unit -= f.rank
        raise IndexError(unit)

    def combine(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """(B̂ @ left [out, k], right @ Â [k, in]) in float32, for left [R, k] and right [k, R]; ˆ means folded."""
        left = ((self.fold * self.sign)[:, None] * left).float()
        right = (right * self.fold).float()
        B = torch.empty(self.out_features, left.shape[1])
        A = torch.empty(right.shape[0], self.in_features)
        begin = 0
        for f in self.factors:
            own = slice(begin, begin + f.rank)
            B.addmm_(f.B.float(), left[own], beta=int(begin > 0))  # at β = 0 what B held is not read
            A.addmm_(right[:, own], f.A.float(), beta=int(begin > 0))
            begin += f.rank
        return B, A

    def stacked(self) -> tuple[Tensor, Tensor]:
        """(Â [R, in], B̂ [out, R]), folded, whole and in float64: for the few modules that need it."""
        A = torch.cat([f.A.double() for f in self.factors], 0) * self.fold[:, None]
        B = torch.cat([f.B.double() for f in self.factors], 1) * (self.fold * self.sign)
        return A, B


def _runs(equal: np.ndarray) -> list[tuple[int, int]]:
    """(begin, end) of every run of neighbours of which `equal` says that each is as the one before."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], equal, [False]]).astype(int)))
    return [(int(begin), int(end) + 1) for begin, end in edges.reshape(-1, 2)]


def pool(adapters: Sequence[LoraWeights], module: str) -> Units:
    """The units of `module` in all adapters that have it, in their order."""
    present = [adapter.get(module) for adapter in adapters]
    factors = tuple(f for f in present if f is not None)
    ranks = torch.tensor([f.rank for f in factors])
    scale = torch.tensor([f.scale for f in factors], dtype=torch.float64).repeat_interleave(ranks)
    sign = torch.where(scale < 0, -1.0, 1.0).double()
    return Units(module, factors, scale.abs().sqrt(), sign, tuple(f.rank if f else 0 for f in present))


def spans_of(ranks: Sequence[int]) -> list[slice]:
    """Where each adapter's units stand among those of all, for its number of units, 0 where it has none."""
    ends = np.cumsum(ranks).tolist()
    return [slice(end - rank, end) for end, rank in zip(ends, ranks, strict=True)]


def module_names(adapters: Sequence[LoraWeights]) -> list[str]:
    """Every module that any adapter has, sorted."""
    return sorted({module for adapter in adapters for module in adapter})


def groups(adapters: Sequence[LoraWeights], budget: int = GROUP_BYTES) -> Iterator[list[Units]]:
    """All modules' units, in groups of equal ranks within `budget` stored bytes: small algebra goes in batches."""
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


def check_finite(units: Units, names: Sequence[str]) -> None:
    """Raise CompositionError, naming the adapter, where a unit holds NaN or infinity."""
    if not all(bool(torch.isfinite(half).all()) for f in units.factors for half in (f.A, f.B)):
        refuse_nonfinite(units, names)


def refuse_nonfinite(units: Units, names: Sequence[str]) -> None:
    """Raise CompositionError that names the adapter, once a unit is known to hold NaN or infinity."""
    present = [name for name, rank in zip(names, units.ranks, strict=True) if rank]
    wrong = [
        name
        for name, f in zip(present, units.factors, strict=True)
        if not (torch.isfinite(f.A).all() and torch.isfinite(f.B).all())
    ]
    adapter = wrong[0] if wrong else "an adapter"
    raise CompositionError(
        "weights.nonfinite",
        f"{units.module} of {adapter} holds NaN or infinite values; expected finite ones. Train or export it again.",
        module=units.module,
        adapter=adapter,
    )
