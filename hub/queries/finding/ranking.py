"""The best answers to a search first: the exact name, how names begin, their words, and then what is only said.

All that match are ranked where they are at most `FEW`. Where more do, looking at each would cost as much as there
are: then some of them are ranked, with some that match by name, and those among the most downloaded.
"""

from dataclasses import dataclass

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Lower

from hub.models import Repository, name_words, words_of
from hub.queries.finding.matching import FEW, SHORTEST, matches, matching

MOST = 1000
COLUMNS = ("pk", "namespace__name", "name", "base__name", "downloads", "peft_type", "rank", "license", "origin")


@dataclass(frozen=True, slots=True)
class Ranking:
    """`COLUMNS` of each, the best first; `more` says that others match as well, which are not ranked."""

    rows: list[tuple]
    more: bool = False

    @property
    def ids(self) -> list[int]:
        """Their ids."""
        return [row[0] for row in self.rows]


def ranked(found: QuerySet[Repository], search: str) -> Ranking:
    """The best of `found` for this search."""
    words, text = words_of(search), search.strip().casefold()
    found, ids = found.order_by(), matches(search, FEW)
    more = len(ids) == FEW
    rows, more = _some(found, search, text) if more else (found.filter(pk__in=ids).values_list(*COLUMNS), False)
    best = sorted(dict.fromkeys(rows), key=lambda row: (-_score(row, words, text), -row[4], -row[0]))
    return Ranking(best[:MOST], more or len(best) > MOST)


def _some(found: QuerySet[Repository], search: str, text: str) -> tuple[list[tuple], bool]:
    """(rows, whether more may match): of very many matches any, some that match by name, the exact names, and those
    that are downloaded most. All, where only few of the matches are among `found`."""
    some = list(found.filter(matching(search, newest=2 * FEW)).values_list(*COLUMNS)[: MOST // 2])
    if len(some) < MOST // 2 and not _is_cut(search, 2 * FEW):
        return some, False
    named = matches(search, MOST // 3, names=True)
    asked = [
        found.filter(pk__in=named),
        found.alias(folded=Lower("name")).filter(_called(text))[: MOST // 10],
    ]
    if connection.vendor != "sqlite":  # There each of them would be a search of its own.
        popular = list(found.order_by("-downloads", "-pk").values_list("pk", flat=True)[: MOST // 2])
        asked.append(found.filter(matching(search), pk__in=popular))
    return [*some, *(row for rows in asked for row in rows.values_list(*COLUMNS))], True


def _is_cut(search: str, newest: int) -> bool:
    """Whether `matching` leaves out what is older than the `newest` matches."""
    return connection.vendor == "sqlite" and len(matches(search, newest + 1)) > newest


def best(found: QuerySet[Repository], search: str, most: int) -> list[Repository]:
    """The best `most` of `found` for this search; the first where nothing is searched."""
    if not search.strip():
        return list(found[:most])
    return in_order(found, ranked(found, search).ids[:most])


def in_order(found: QuerySet[Repository], ids: list[int]) -> list[Repository]:
    """Those of `found` with these ids, in the order of the ids."""
    rows = {row.pk: row for row in found.filter(pk__in=ids)}
    return [rows[pk] for pk in ids if pk in rows]


def _called(text: str) -> Q:
    """Named so, with its owner or without."""
    owner, slash, name = text.rpartition("/")
    return Q(folded=name, namespace__name__iexact=owner) if slash else Q(folded=text)


def _score(row: tuple, words: list[str], text: str) -> int:
    """5: its name; 4: it begins so; 3: its words; 2: their beginnings; 1: with owner and base; 0: only said of it."""
    owner, name, base = row[1:4]
    if text in (name.casefold(), f"{owner}/{name}".casefold()):
        return 5
    if words_of(name)[: len(words)] == words or name.casefold().startswith(text):
        return 4
    named = name_words(name)
    if all(word in named for word in words):
        return 3
    if _begin(words, named):
        return 2
    return int(_begin(words, [*named, *name_words(owner or ""), *name_words(base or "")]))


def _begin(words: list[str], named: list[str]) -> bool:
    whole = {word for word in words if len(word) < SHORTEST}
    return whole <= set(named) and all(any(one.startswith(word) for one in named) for word in words)
