"""Which repositories a search means: those that have each of its words, or a word that begins with it.

The database's own full-text index answers: GIN on PostgreSQL, FTS5 on SQLite. The words are those that
`hub.services.catalogue` entered, so that both databases find the same. A word of one or two letters is meant whole.
"""

from django.db import connection
from django.db.models import Q
from django.db.models.expressions import RawSQL

from hub.models import SearchEntry, words_of

MOST_WORDS = 8
FEW = 1500
"""Matches that are looked at one by one."""
SHORTEST = 3
"""Letters of a word that also finds what only begins with it."""


def matching(search: str, *, names: bool = False, newest: int | None = None) -> Q:
    """The filter for repositories that the search means; with `names` by their name, owner and base alone.

    `newest` bounds how many matches SQLite looks at, from the newest on; PostgreSQL bounds by the list's own order.
    """
    query = _query(search, names)
    if not query:
        return Q(pk__in=[])
    statement, values = SearchEntry.objects.statement(query, names=names, newest=newest)
    return Q(pk__in=RawSQL(statement, values))


def matches(search: str, most: int, *, names: bool = False) -> list[int]:
    """Ids of at most so many repositories that the search means, whoever may see them."""
    query, words = _query(search, names), words_of(search)
    return SearchEntry.objects.matches(query, most, names=names, several=len(words) > 1) if query else []


def meant_by(search: str, *, names: bool = False) -> Q:
    """The same as `matching`, by the ids themselves where they are few.

    How many rows have several words together a database only guesses: where it expects many and there are none, it
    would go through all in the list's order.
    """
    ids = matches(search, FEW, names=names)
    return Q(pk__in=ids) if len(ids) < FEW else matching(search, names=names)


def _query(search: str, names: bool) -> str:
    """The search in the words of the database's index; "" without a word."""
    words = words_of(search)[:MOST_WORDS]
    if connection.vendor == "sqlite":
        query = " AND ".join(f'"{word}"*' if len(word) >= SHORTEST else f'"{word}"' for word in words)
        return f"{{names}} : ({query})" if names and query else query
    return " & ".join(f"'{word}':*" if len(word) >= SHORTEST else f"'{word}'" for word in words)
