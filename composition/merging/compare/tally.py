"""The figures of one method, added up over modules: norms, errors, and what is left of each adapter."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from composition.merging.diagnostics import balance, ratio

CLEAR = 1e-6
"""An error below this is zero: float32 Grams don't tell it apart."""


@dataclass(slots=True)
class Tally:
    """Squares and products over the modules so far; n adapters."""

    count: int
    squares: dict[str, float] = field(default_factory=dict)
    own: Tensor = field(init=False)
    shared: Tensor = field(init=False)
    inside: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.own, self.shared, self.inside = torch.zeros(3, self.count, dtype=torch.float64).unbind()

    def add(self, squares: dict[str, float], own: Tensor, shared: Tensor, inside: Tensor) -> None:
        """A module's: `squares` of the norms of result, sum, off_sum and off_mean; [n] ‖ΔW_i‖², ⟨ΔW', ΔW_i⟩ and
        ‖P_B ΔW_i P_A‖², with P_B and P_A onto the result's column and row spaces."""
        for name, value in squares.items():
            self.squares[name] = self.squares.get(name, 0.0) + max(value, 0.0)
        self.own += own
        self.shared += shared
        self.inside += inside

    def to_dict(self) -> dict[str, Any]:
        """The figures, as those of a merge's report are named; `inside_inputs` are shares of ‖ΔW_i‖²."""
        whole = self.squares.get("sum", 0.0) ** 0.5
        kept = [ratio(part, own) for part, own in zip(self.shared.tolist(), self.own.tolist(), strict=True)]
        inside = [ratio(part, own) for part, own in zip(self.inside.tolist(), self.own.tolist(), strict=True)]
        return {
            "norm": self.squares.get("result", 0.0) ** 0.5,
            "error_sum": cleared(ratio(self.squares.get("off_sum", 0.0) ** 0.5, whole)),
            "error_mean": cleared(ratio(self.squares.get("off_mean", 0.0) ** 0.5, whole / self.count)),
            "kept_inputs": kept,
            "inside_inputs": [None if share is None else min(share, 1.0) for share in inside],
            "balance": balance(kept),
        }


def cleared(error: float | None) -> float | None:
    """The error, 0 where it is rounding."""
    return 0.0 if error is not None and error < CLEAR else error
