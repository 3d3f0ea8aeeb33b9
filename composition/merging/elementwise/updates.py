"""A rule on the numbers of ΔW, cut to rank k, with ΔW never held: rows are made, used and dropped.

    T = rule(s_1 B_1 A_1, …, s_n B_n A_n),   rows by rows;   ΔW' = the best rank-k part of T

T is no product of small matrices, so its leading singular vectors come from sweeps over its rows (`low_rank`). The
first rows of T are kept as far as `KEPT` bytes reach and the others made anew in each sweep. So memory is bounded,
whatever the module's size: `BLOCK` bytes of the adapters' rows, `KEPT`, and the vectors.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from composition.errors import CompositionError
from composition.merged_model.low_rank import Leading, leading
from composition.merging.elementwise.rules import Mask, Rule, combined, prepared
from composition.merging.units import Units
from composition.recipes.merge.elementwise import ElementwiseRecipe

BLOCK = 4 * 2**20
"""Bytes of all adapters' rows that are made at once: small enough for a processor's cache."""
KEPT = 64 * 2**20
"""Bytes of merged rows that are kept between sweeps."""


def merge_updates(units: Units, weights: Tensor, recipe: ElementwiseRecipe, k: int) -> Leading:
    """The best rank-k part of the rule's result on one module; `weights` [n] are those of the adapters that have it."""
    rows = max(1, BLOCK // (4 * len(units.factors) * units.in_features))
    size = units.out_features * units.in_features
    present = [place for place, rank in enumerate(units.ranks) if rank]

    def blocks() -> Iterator[Tensor]:
        return (block for _, block in _updates(units, rows))

    rule = prepared(recipe.leaving, units.module, blocks, size, present)
    tiles = _Tiles(units, rows, rule, weights, recipe)
    try:
        return leading(tiles, units.out_features, units.in_features, k)
    except FloatingPointError:
        raise CompositionError(
            "weights.nonfinite",
            f"{units.module}: the product of B and A goes beyond float32. Export the adapters with smaller numbers.",
            module=units.module,
        ) from None


class _Tiles:
    """The rule's result by rows, as often as it is called."""

    def __init__(self, units: Units, rows: int, rule: Rule, weights: Tensor, recipe: ElementwiseRecipe) -> None:
        self._units, self._rows, self._weights, self._recipe = units, rows, weights, recipe
        self._kept: list[tuple[slice, Tensor]] = []
        self._rest: tuple[int, Mask] | None = (0, rule.begin())
        self._room = KEPT

    def __call__(self) -> Iterator[tuple[slice, Tensor]]:
        yield from self._kept
        if self._rest is None:
            return
        begin, mask = self._rest
        mask = mask.fork()
        for span, block in _updates(self._units, self._rows, begin):
            numbers = combined(mask(block), self._weights, self._recipe.election) * self._recipe.scale
            self._keep(span, numbers, mask)
            yield span, numbers

    def _keep(self, span: slice, numbers: Tensor, mask: Mask) -> None:
        """Keep these rows if they follow those that are kept and there is room; the rest then begins after them."""
        size = numbers.element_size() * numbers.numel()
        if self._rest is None or span.start != self._rest[0] or size > self._room:
            return
        self._room -= size
        self._kept.append((span, numbers))
        self._rest = (span.stop, mask.fork()) if span.stop < self._units.out_features else None


def _updates(units: Units, rows: int, first: int = 0) -> Iterator[tuple[slice, Tensor]]:
    """(rows, [n, rows, in]) of the adapters' ΔW, from the row `first`."""
    rights = [f.A.float() for f in units.factors]
    lefts = [f.B.float() * f.scale for f in units.factors]
    for begin in range(first, units.out_features, rows):
        span = slice(begin, min(begin + rows, units.out_features))
        yield span, torch.stack([B[span] @ A for A, B in zip(rights, lefts, strict=True)])
