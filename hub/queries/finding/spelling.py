"""What a mistyped search was meant to be: its unknown words in the spelling of words that repositories have.

Trigrams find candidates, pg_trgm on PostgreSQL and FTS5 on SQLite, within a time limit; the closest is taken. Without
pg_trgm nothing is corrected.
"""

from difflib import get_close_matches

from django.db import DatabaseError

from hub.models import SearchWord, words_of
from hub.queries.finding.matching import MOST_WORDS

SHORTEST, CLOSE, CANDIDATES = 4, 0.7, 50
MILLISECONDS = 150


def corrected(search: str) -> str:
    """The search with its unknown words corrected; "" where none is, or one can't be."""
    words = words_of(search)[:MOST_WORDS]
    meant = [word if _is_known(word) else _closest(word) for word in words]
    return " ".join(meant) if all(meant) and meant != words else ""


def _is_known(word: str) -> bool:
    return len(word) < SHORTEST or SearchWord.objects.filter(word=word).exists()


def _closest(word: str) -> str:
    try:
        found = SearchWord.objects.near(word, most=CANDIDATES, milliseconds=MILLISECONDS)
    except DatabaseError:  # It took too long, or there is no pg_trgm.
        return ""
    return next(iter(get_close_matches(word, found, n=1, cutoff=CLOSE)), "")
