"""Which tensor of the base a module of the adapter means.

Usually `module.weight`. Checkpoints differ from the loaded model in prefixes only (`transformer.`, `model.`,
`language_model.model.` for `model.language_model.`), so the tensor that shares the longest ending is taken, then the
one that shares the most words before it; a tie is refused, never guessed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from .refusal import ExportRefused

HEADS = ("lm_head", "embed_out")
TABLES = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", "tokens_embed")


def last(name: str) -> str:
    """The last word of a dotted name."""
    return name.rpartition(".")[2]


class BaseNames:
    """The base's tensors by the last two words of their names."""

    def __init__(self, tensors: Iterable[str]) -> None:
        self._all = frozenset(tensors)
        self._by_end: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for name in self._all:
            self._by_end[tuple(name.split(".")[-2:])].append(name)

    def find(self, name: str) -> str | None:
        """The base's tensor for `name` (module + .weight or .bias); None where there is none.

        Raises ExportRefused `ambiguous` where two fit equally well.
        """
        if name in self._all:
            return name
        words = name.split(".")
        ending = self._by_end.get(tuple(words[-2:]), ())
        scored = [(score, other) for other in ending if (score := _closeness(words, other.split(".")))]
        if not scored:
            return None
        best = max(score for score, _ in scored)
        chosen = sorted(other for score, other in scored if score == best)
        if len(chosen) > 1:
            raise ExportRefused(
                "ambiguous",
                f"{name} of the adapter may be {chosen[0]} or {chosen[1]} of the base. Give the base folder that the "
                "adapter was trained on.",
            )
        return chosen[0]

    def table(self) -> str | None:
        """The token embedding's tensor, if exactly one looks like it."""
        found = [name for name in self._all if name.endswith(".weight") and last(name[: -len(".weight")]) in TABLES]
        return found[0] if len(found) == 1 else None


def _closeness(words: Sequence[str], other: Sequence[str]) -> tuple[int, int, int] | None:
    """(words of the common ending, shared words before it, minus words only one has); None if numbers differ there."""
    same = 0
    while same < min(len(words), len(other)) and words[-1 - same] == other[-1 - same]:
        same += 1
    rest, others = words[: len(words) - same], other[: len(other) - same]
    if [word for word in rest if word.isdigit()] != [word for word in others if word.isdigit()]:
        return None
    shared = len(set(rest) & set(others))
    return same, shared, 2 * shared - len(rest) - len(others)


def match_all(wanted: Iterable[str], names: BaseNames) -> Mapping[str, str | None]:
    """Each wanted tensor's name in the base. Raises ExportRefused `ambiguous` where two would share one."""
    found = {name: names.find(name) for name in wanted}
    taken: dict[str, str] = {}
    for name, own in found.items():
        if own is not None and taken.setdefault(own, name) != name:
            raise ExportRefused("ambiguous", f"{name} and {taken[own]} of the adapter would both be {own} of the base.")
    return found
