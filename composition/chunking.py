"""Where a generation cuts a text: n = ⌈length / window⌉ chunks of ⌈length / n⌉ tokens, the last shorter (published).

Free of torch: the page's preview cuts by the same rule as the worker.
"""

from collections.abc import Sequence


def boundaries(length: int, window: int) -> list[tuple[int, int]]:
    """[(begin, end)] of the chunks of a text of so many tokens; none is longer than the window."""
    if length <= 0:
        return []
    count = -(-length // window)
    width = -(-length // count)
    return [(begin, min(begin + width, length)) for begin in range(0, length, width)]


def cut(length: int, mode: str, window: int) -> list[tuple[int, int]]:
    """The boundaries in this reading mode; `concat` takes the whole text as one chunk."""
    return boundaries(length, length if mode == "concat" else window)


def chunks(ids: Sequence[int], mode: str, window: int) -> list[list[int]]:
    """The text's tokens by chunk."""
    return [list(ids[begin:end]) for begin, end in cut(len(ids), mode, window)]
