"""The k-th largest magnitude of numbers that come by in blocks, exactly, and how many equal ones belong to the k.

Two sweeps and no numbers held: the bits of a float32 ≥ 0 order as the float does, so the first sweep counts numbers by
their upper half of bits, and the second those of the half that holds the k-th by their lower half.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

HALF = 16
LOWER = (1 << HALF) - 1

Sweep = Callable[[], Iterable[Tensor]]
"""Blocks [n, …] float32 of n streams, the same at each call."""


@dataclass(frozen=True, slots=True)
class Edge:
    """The k largest of a stream are all magnitudes above `value`, and the first `equal` of those that equal it."""

    value: float
    equal: int


def edges(sweep: Sweep, counts: Sequence[int], streams: int) -> list[list[Edge]]:
    """[streams][len(counts)]: where the k largest of each stream begin, for each k ≥ 1 of `counts`."""
    upper = np.zeros((streams, 1 << HALF - 1), dtype=np.int64)
    for block in sweep():
        for stream, bits in enumerate(_bits(block)):
            upper[stream] += np.bincount(bits >> HALF, minlength=upper.shape[1])
    halves = [[_place(row, k) for k in counts] for row in upper]
    lower = np.zeros((streams, len(counts), LOWER + 1), dtype=np.int64)
    for block in sweep():
        for stream, bits in enumerate(_bits(block)):
            high = bits >> HALF
            for place, (half, _) in enumerate(halves[stream]):
                lower[stream, place] += np.bincount(bits[high == half] & LOWER, minlength=LOWER + 1)
    return [
        [_edge(lower[stream, place], half, k) for place, (half, k) in enumerate(found)]
        for stream, found in enumerate(halves)
    ]


def _bits(block: Tensor) -> Iterable[np.ndarray]:
    return (each.abs().contiguous().view(torch.int32).numpy().ravel() for each in block)


def _place(counted: np.ndarray, k: int) -> tuple[int, int]:
    """(bin of the k-th largest, its place among the largest of that bin), for counts by rising bins."""
    above = np.cumsum(counted[::-1])
    place = int(np.searchsorted(above, k))
    return len(counted) - 1 - place, k - (int(above[place - 1]) if place else 0)


def _edge(counted: np.ndarray, half: int, k: int) -> Edge:
    low, equal = _place(counted, k)
    value = np.array(half << HALF | low, dtype=np.int32).view(np.float32)
    return Edge(float(value), equal)


class Above:
    """Masks of the largest of each stream, block by block in the order of a sweep."""

    def __init__(self, found: Sequence[Edge], left: Sequence[int] | None = None) -> None:
        self._found = found
        self._left = [edge.equal for edge in found] if left is None else list(left)

    def fork(self) -> "Above":
        """One that goes on from here by itself."""
        return Above(self._found, self._left)

    def mask(self, magnitudes: Tensor) -> Tensor:
        """The next block [n, …]: true for the k largest of each stream."""
        mask = torch.empty(magnitudes.shape, dtype=torch.bool)
        for stream, (edge, each) in enumerate(zip(self._found, magnitudes, strict=True)):
            torch.gt(each, edge.value, out=mask[stream])
            equal = each == edge.value
            count = int(equal.sum())
            if count > self._left[stream]:
                equal &= equal.view(-1).cumsum(0).view(equal.shape) <= self._left[stream]
            self._left[stream] -= min(count, self._left[stream])
            mask[stream] |= equal
        return mask
