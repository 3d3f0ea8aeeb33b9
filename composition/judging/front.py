"""The front of quality, rank and time: the candidates that no other beats in one without losing in another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

A_SECOND = 0.5
"""Times below it are alike."""


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate's quality (more is better), the rank of its largest module, the seconds that its merge took."""

    quality: float
    rank: int
    seconds: float

    @property
    def pace(self) -> int:
        """The time by powers of four: what a machine's moods change is no difference."""
        return round(math.log(max(self.seconds, A_SECOND), 4))


def front(points: Sequence[Point]) -> list[bool]:
    """For each point whether it is on the front; of points that are equal in all three, every one is."""
    return [not any(_beats(other, one) for other in points) for one in points]


def _beats(one: Point, other: Point) -> bool:
    mine, theirs = (-one.quality, one.rank, one.pace), (-other.quality, other.rank, other.pace)
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))
