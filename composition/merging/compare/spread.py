"""A few of many modules, spread over the model."""

from collections.abc import Sequence

GOLDEN = (5**0.5 - 1) / 2


def spread(modules: Sequence[str]) -> list[str]:
    """The modules in an order in which any first few are spread over the list: by the golden ratio's multiples."""
    return [modules[index] for index in sorted(range(len(modules)), key=lambda index: index * GOLDEN % 1)]
