"""ROUGE-L between short texts, and the index that finds near-duplicates.

F = 2 · LCS / (a + b), with the longest common subsequence of two texts' words (lower case, letters and digits). The LCS
is Hyyrö's bit-parallel one (2004): one big-integer addition a word. Bounds on F by lengths and by shared words leave
most pairs uncounted.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

WORD = re.compile(r"\w+", re.UNICODE)


def words(text: str) -> list[str]:
    """Lower-case runs of letters, digits and underscores; a text without any is its own only word."""
    return WORD.findall(text.lower()) or [text.strip()]


def lcs(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    places: dict[str, int] = {}
    for number, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << number
    full = (1 << len(a)) - 1
    open_ = full
    for word in b:
        hit = open_ & places.get(word, 0)
        open_ = ((open_ + hit) | (open_ - hit)) & full
    return len(a) - open_.bit_count()


def rouge_l(a: Sequence[str], b: Sequence[str]) -> float:
    """F-measure in [0, 1] of two lists of words."""
    return 2 * lcs(a, b) / (len(a) + len(b)) if a and b else float(not a and not b)


class Kept:
    """The texts kept so far; `has_like` says whether a new one is too much like any of them."""

    def __init__(self, ceiling: float, texts: Iterable[str] = ()) -> None:
        self.ceiling = ceiling
        self.exact: set[str] = set()
        self.lists: list[tuple[list[str], Counter[str]]] = []
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        self.exact.add(text.strip())
        listed = words(text)
        self.lists.append((listed, Counter(listed)))

    def has_like(self, text: str) -> bool:
        """Equal to a kept text, or F above the ceiling (a ceiling of 1 leaves equality alone)."""
        if text.strip() in self.exact:
            return True
        if self.ceiling >= 1:
            return False
        new = words(text)
        counted = Counter(new)
        for old, old_counted in self.lists:
            total = len(new) + len(old)
            if 2 * min(len(new), len(old)) <= self.ceiling * total:
                continue
            if 2 * (counted & old_counted).total() <= self.ceiling * total:
                continue
            if rouge_l(new, old) > self.ceiling:
                return True
        return False
