"""95 % confidence intervals of shares and of their differences, torch-free.

Wilson's score interval for one share; Newcombe's hybrid of two of them for a difference: method 10 of Stat. Med. 17
(1998) 873 for independent rows, and method 10 of Stat. Med. 17 (1998) 2635 where both were measured on the same rows,
which is far narrower where they agree on most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its lower and upper bound; `paired` where it comes from the same rows."""

    value: float
    low: float
    high: float
    paired: bool = False


def in_percent(share: float) -> str:
    """A share as "12.3 %"."""
    return f"{100 * share:.1f} %"


def in_points(difference: float) -> str:
    """A difference of shares in points of a hundred, with its sign."""
    return f"{100 * difference:+.1f}".replace("-", "−")


def wilson(hits: float, rows: int) -> Interval:
    """The share `hits / rows`; `rows` is at least 1."""
    share, z = hits / rows, Z * Z
    middle = (hits + z / 2) / (rows + z)
    reach = Z * sqrt(rows * share * (1 - share) + z / 4) / (rows + z)
    return Interval(share, max(0.0, middle - reach), min(1.0, middle + reach))


def difference(hits: float, rows: int, other_hits: float, other_rows: int) -> Interval:
    """`hits / rows − other_hits / other_rows`, each measured on rows of its own."""
    return _square_and_add(wilson(hits, rows), wilson(other_hits, other_rows), 0.0, paired=False)


def paired_difference(hits: Sequence[int], other_hits: Sequence[int]) -> Interval:
    """The mean of `hits` less that of `other_hits`: 0 or 1 by row, the same rows in the same order, at least one."""
    if len(hits) != len(other_hits) or len(hits) == 0:
        raise ValueError(f"{len(hits)} rows against {len(other_hits)}: expected the same rows, at least one")
    rows, pairs = len(hits), list(zip(map(bool, hits), map(bool, other_hits), strict=True))
    both, neither = pairs.count((True, True)), pairs.count((False, False))
    only, other_only = pairs.count((True, False)), pairs.count((False, True))
    product = (both + only) * (other_only + neither) * (both + other_only) * (only + neither)
    agreement: float = both * neither - only * other_only
    if agreement > 0:
        agreement = max(agreement - rows / 2, 0)
    phi = agreement / sqrt(product) if product else 0.0
    return _square_and_add(wilson(both + only, rows), wilson(both + other_only, rows), phi, paired=True)


def mean_of(parts: Sequence[Interval]) -> Interval:
    """The mean of independent values, at least one; arms add up as squares (Zou and Donner, Stat. Med. 27, 2008)."""
    count = len(parts)
    value = sum(part.value for part in parts) / count
    below = sqrt(sum((part.value - part.low) ** 2 for part in parts)) / count
    above = sqrt(sum((part.high - part.value) ** 2 for part in parts)) / count
    return Interval(value, value - below, value + above, all(part.paired for part in parts))


def _square_and_add(one: Interval, other: Interval, phi: float, *, paired: bool) -> Interval:
    """p₁ − p₂ with √(a² − 2φab + b²) below and above, a and b the two intervals' arms on that side."""
    value = one.value - other.value
    below = one.value - one.low, other.high - other.value
    above = one.high - one.value, other.value - other.low
    low, high = (sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0)) for a, b in (below, above))
    return Interval(value, max(-1.0, value - low), min(1.0, value + high), paired)
