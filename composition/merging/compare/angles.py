"""The smallest principal angles between the spaces of two adapters' updates, from their Grams.

The rows of A span what an update reads, the columns of B what it writes. With orthonormal bases Q_i of such a space of
each adapter, the cosines of their principal angles are the singular values of Q_iᵀ Q_j; the smallest angle belongs to
the largest. 0° is a direction that both have; the angle is told as its mean over the modules that both change.

Spaces that have nothing to do with each other are no right angles apart: of dimensions p and q in d places, the largest
cosine is near √(x (1 − y)) + √(y (1 − x)) with x = p / d and y = q / d (Wachter, 1980), which is told beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import acos, degrees, sqrt
from typing import Any

import torch
from torch import Tensor

from composition.merging.compare.blocks import PooledGrams
from composition.merging.compare.pairs import plain, whitened
from composition.recipes.base import Inputs

BLOCKS = 16_000
"""How many pairs of spaces are looked at, over all pairs, modules and sides: about a second of one core."""
SIDES = ("row", "column")
WORDS = ("angle", "chance")


@dataclass(slots=True)
class Angles:
    """Adds up groups of modules; n adapters."""

    inputs: Inputs
    sums: dict[str, Tensor] = field(init=False)
    seen: Tensor = field(init=False)
    modules: int = 0

    def __post_init__(self) -> None:
        shape = (len(self.inputs), len(self.inputs))
        self.sums = {f"{side}_{word}": torch.zeros(shape, dtype=torch.float64) for side in SIDES for word in WORDS}
        self.seen = torch.zeros(shape, dtype=torch.float64)

    def add(self, group: PooledGrams, places: Sequence[int]) -> None:
        """Add the modules at these places of a group."""
        if not places:
            return
        self.modules += len(places)
        ranks = torch.tensor(group.ranks)
        self.seen += len(places) * torch.outer((ranks > 0).double(), (ranks > 0).double())
        for side, gram in zip(SIDES, (group.A, group.B), strict=True):
            white, dims = whitened(gram[list(places)], group.spans)
            widths = [self._width(group.modules[place], side) for place in places]
            for i, j in self._pairs(group):
                block = white[:, group.spans[i], group.spans[j]]
                cosine = torch.linalg.svdvals(block)[:, 0].double().clamp(0, 1)
                each = zip(dims[:, i].tolist(), dims[:, j].tolist(), widths, strict=True)
                chance = [by_chance(p, q, width) for p, q, width in each]
                for word, value in zip(WORDS, (cosine.acos().rad2deg().sum(), sum(chance)), strict=True):
                    self.sums[f"{side}_{word}"][i, j] += float(value)
                    self.sums[f"{side}_{word}"][j, i] += float(value)

    def to_dict(self) -> dict[str, Any]:
        """Matrices n × n in degrees, 0 on the diagonal; None where two adapters have no module in common."""
        return {name: plain(matrix / self.seen) for name, matrix in self.sums.items()}

    def _pairs(self, group: PooledGrams) -> list[tuple[int, int]]:
        there = [place for place, rank in enumerate(group.ranks) if rank]
        return [(i, j) for n, i in enumerate(there) for j in there[n + 1 :]]

    def _width(self, module: str, side: str) -> int:
        facts = next(facts.modules[module] for _, facts in self.inputs if module in facts.modules)
        return facts.in_features if side == "row" else facts.out_features


def by_chance(p: int, q: int, width: int) -> float:
    """The smallest angle, in degrees, between random spaces of p and q dimensions in `width` places."""
    x, y = p / width, q / width
    return degrees(acos(min(sqrt(x * (1 - y)) + sqrt(y * (1 - x)), 1.0))) if x + y < 1 else 0.0


def modules_of(count: int, total: int) -> int:
    """On how many of `total` modules angles between `count` adapters are told, within `BLOCKS`."""
    pairs = count * (count - 1) // 2
    return min(total, max(1, BLOCKS // max(1, len(SIDES) * pairs)))
