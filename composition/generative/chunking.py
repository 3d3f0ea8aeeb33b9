"""Where a text is cut: n = ⌈length / window⌉ chunks of ⌈length / n⌉ tokens, the last one shorter (published)."""

import math
from collections.abc import Sequence


def boundaries(length: int, window: int) -> list[tuple[int, int]]:
    """[(begin, end)] of the chunks of a text of so many tokens; none is longer than the window."""
    if length <= 0:
        return []
    width = math.ceil(length / math.ceil(length / window))
    return [(begin, min(begin + width, length)) for begin in range(0, length, width)]


def chunks(ids: Sequence[int], window: int) -> list[list[int]]:
    """The text's tokens by chunk."""
    return [list(ids[begin:end]) for begin, end in boundaries(len(ids), window)]
