"""Which repositories a search means: those that have each of its words, or a word that begins with it.

The database's own full-text index answers: GIN on PostgreSQL, FTS5 on SQLite. The words are those that
`hub.services.catalogue` entered, so that both databases find the same. A word of one or two letters is meant whole.
"""

from django.db import connection
from django.db.models import Q
from django.db.models.expressions import RawSQL

from hub.models import words_of

MOST_WORDS = 8
SHORTEST = 3
"""Letters of a word that also finds what only begins with it."""
POSTGRESQL = {
    False: "SELECT repository_id FROM hub_searchentry WHERE lexemes @@ %s::tsquery",
    True: "SELECT repository_id FROM hub_searchentry WHERE name_lexemes @@ %s::tsquery",
}
SQLITE = "SELECT rowid FROM hub_search WHERE hub_search MATCH %s"


def matching(search: str, *, names: bool = False, newest: int | None = None) -> Q:
    """The filter for repositories that the search means; with `names` by their name, owner and base alone.

    `newest` bounds how many matches SQLite looks at, from the newest on; PostgreSQL bounds by the list's own order.
    """
    words = words_of(search)[:MOST_WORDS]
    if not words:
        return Q(pk__in=[])
    if connection.vendor == "sqlite":
        query = " AND ".join(f'"{word}"*' if len(word) >= SHORTEST else f'"{word}"' for word in words)
        bound = f" ORDER BY rowid DESC LIMIT {int(newest)}" if newest else ""
        return Q(pk__in=RawSQL(SQLITE + bound, [f"{{names}} : ({query})" if names else query]))
    query = " & ".join(f"'{word}':*" if len(word) >= SHORTEST else f"'{word}'" for word in words)
    return Q(pk__in=RawSQL(POSTGRESQL[names], [query]))
