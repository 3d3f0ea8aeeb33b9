"""Module names of other tools in the words of the base: by its own list of modules, never by guessing.

Most tools keep the names of the model's code and differ in what comes before them. A name is therefore looked up whole,
then by its end, from the word before the layer's number on (`layers.0.self_attn.q_proj`); an end counts only where one
module of the base has it.
"""

from collections import Counter
from collections.abc import Iterable

from composition.formats.foreign.plan import Base

TABLES = frozenset({"embed_tokens", "wte", "word_embeddings", "tok_embeddings", "embed_in"})


class Modules:
    """The base's modules by any end of their names."""

    def __init__(self, base: Base) -> None:
        self._shapes = base.modules
        counts = Counter(end for name in self._shapes for end in _ends(name))
        self._by_end = {end: name for name in self._shapes for end in _ends(name) if counts[end] == 1}

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def named(self, candidates: Iterable[str]) -> str:
        """The first candidate that is a module, else the one whose end is a module's alone, else the first of all."""
        candidates = list(candidates)
        for name in candidates:
            if name in self._shapes:
                return name
        for name in candidates:
            for end in _ends(name)[: _before_number(name) + 1]:
                if "." in end and end in self._by_end:
                    return self._by_end[end]
        return candidates[0]

    def is_table(self, name: str) -> bool:
        """Whether the module is an embedding table."""
        return name.rpartition(".")[2] in TABLES


def _before_number(name: str) -> int:
    """The place of the word before the first number in a name; 0 where it has none."""
    words = name.split(".")
    return max(next((place for place, word in enumerate(words) if word.isdigit()), 1) - 1, 0)


def _ends(name: str) -> list[str]:
    return [name, *(name[dot + 1 :] for dot, character in enumerate(name) if character == ".")]
