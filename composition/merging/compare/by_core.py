"""Methods judged by their merged cores: every figure is one of small matrices."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from composition.merging.compare.outlook import Outlook
from composition.merging.compare.tally import Tally
from composition.merging.core.cores import Cores

ZERO = 1e-10
"""Singular values below this share of the largest are rounding."""


@dataclass(slots=True)
class ByCore:
    """A method, the weights of the sum it is held against, and its figures so far."""

    outlook: Outlook
    count: int
    weights: Sequence[float]
    tally: Tally = field(init=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.tally = Tally(self.count)

    def add(self, cores: Cores, own: Tensor, target: Tensor) -> None:
        """Judge one module: `own` [n] are ‖ΔW_i‖², `target` [p, q] is the core of the weighted sum."""
        start = time.process_time()
        assert self.outlook.core is not None
        core = self.outlook.core(cores, self.outlook.recipe)
        u, values, vh = torch.linalg.svd(core, full_matrices=False)
        self.seconds += time.process_time() - start
        real = int((values > ZERO * values[:1]).sum())
        wanted = self.outlook.cut(cores)
        k = real if wanted is None else min(wanted, real)
        u, values, vh = u[:, :k], values[:k], vh[:k]
        result = (u * values) @ vh
        left, right = u.mT @ cores.left, cores.right @ vh.mT  # [k, R], [R, k]: units in the result's own bases
        each = ((left.mT * values) * right).sum(1)
        spans = cores.spans
        shared = torch.stack([each[span].sum() for span in spans])
        inside = torch.stack([(left[:, span] @ right[span]).square().sum() for span in spans])
        squares = {
            "result": float(values.square().sum()),
            "sum": float(target.square().sum()),
            "off_sum": float((result - target).square().sum()),
            "off_mean": float((result - target / self.count).square().sum()),
        }
        self.tally.add(squares, own, shared, inside)

    def to_dict(self, judged: int, total: int) -> dict[str, Any]:
        """The method's row; its seconds are for all modules, as one core of this machine took for those judged."""
        return {
            **self.outlook.head(),
            **self.tally.to_dict(),
            "seconds": round(self.seconds * total / judged, 3) if judged else None,
            "judged_by": "estimate" if self.outlook.method.rough else "cores",
        }


def judged_by_core(cores: Cores, methods: Iterable[ByCore]) -> None:
    """Judge all methods in one module."""
    own = cores.norms().square()
    for method in methods:
        method.add(cores, own, cores.whole(method.weights))
