"""A few of many modules, spread evenly over the model: over the types of modules, and over depth within each type."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import zip_longest

GOLDEN = (5**0.5 - 1) / 2
NUMBERS = re.compile(r"\d+")


def spread(modules: Sequence[str]) -> list[str]:
    """The modules in an order in which any first few are spread over the model.

    Types, names without their numbers, take turns, and the depths of what is taken, one after another, are the
    multiples of the golden ratio.
    """
    by_type: dict[str, list[str]] = {}
    for module in sorted(modules, key=lambda module: (*map(int, NUMBERS.findall(module)), module)):
        by_type.setdefault(NUMBERS.sub("", module), []).append(module)
    turns = [_spread(by_type[kind], turn, len(by_type)) for turn, kind in enumerate(sorted(by_type))]
    return [module for row in zip_longest(*turns) for module in row if module is not None]


def _spread(modules: Sequence[str], begin: int, step: int) -> list[str]:
    """One after another those nearest to the places (begin + k · step) · golden ratio mod 1 that are left."""
    left, ordered = list(range(len(modules))), []
    for k in range(len(modules)):
        wanted = (begin + k * step) * GOLDEN % 1 * len(modules)
        after = bisect_left(left, wanted - 0.5)
        nearest = min(range(max(after - 1, 0), min(after + 1, len(left))), key=lambda at: abs(left[at] + 0.5 - wanted))
        ordered.append(modules[left.pop(nearest)])
    return ordered
