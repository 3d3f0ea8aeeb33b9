"""How fast the singular values of the weighted sum fall: what a rank k can keep of it at best."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from composition.merging.core.cores import Cores

POINTS = 48


@dataclass(slots=True)
class Spectrum:
    """Squared singular values of Σ w_i ΔW_i, the strongest first, added up over modules."""

    weights: Sequence[float]
    squares: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))

    def add(self, cores: Cores) -> None:
        """Add a module."""
        values = torch.linalg.svdvals(cores.whole(self.weights)).square()
        longer, shorter = (values, self.squares) if len(values) > len(self.squares) else (self.squares, values)
        self.squares = longer.clone()
        self.squares[: len(shorter)] += shorter

    def to_dict(self) -> dict[str, Any]:
        """{"kept": [[rank, share]]}: the share of the sum's squared norm that the best rank-k update keeps."""
        total = float(self.squares.sum())
        if total <= 0:
            return {"kept": []}
        shares = (self.squares.cumsum(0) / total).clamp(max=1.0)
        count = len(shares)
        ranks = sorted({max(1, round(1 + (count - 1) * i / (POINTS - 1))) for i in range(POINTS)})
        return {"kept": [[rank, float(shares[rank - 1])] for rank in ranks]}
