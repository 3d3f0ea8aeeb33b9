"""What is found and counted: each repository's words, and how many public repositories have which value of a facet.

All of it repeats other rows. `hub.services.catalogue` writes it in the transaction of what it repeats.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from django.db import connection, models, transaction

from .repositories import Repository

LONGEST = 60
"""Characters of a word that count."""
WORD = re.compile(r"[^\W_]+")
PARTS = re.compile(r"[0-9]+|[^\W\d_]+")
NEAR_ON_POSTGRESQL = "SELECT word FROM hub_searchword WHERE word %% %s ORDER BY similarity(word, %s) DESC LIMIT %s"
NEAR_ON_SQLITE = "SELECT word FROM hub_spelling WHERE hub_spelling MATCH %s ORDER BY rank LIMIT %s"
COMMONEST = """
SELECT * FROM (
    SELECT facet, value, n, 0 AS place FROM hub_facetcount WHERE kind = %s AND facet = %s ORDER BY n DESC LIMIT %s
) AS most
"""
CHANGED = """
SELECT changed.facet, changed.value, changed.n + COALESCE(kept.n, 0), 1 FROM (
    SELECT facet, value, SUM(n) AS n FROM hub_facetchange WHERE kind = %s GROUP BY facet, value
) AS changed LEFT JOIN hub_facetcount AS kept
ON kept.kind = %s AND kept.facet = changed.facet AND kept.value = changed.value
"""
HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def words_of(text: str) -> list[str]:
    """The words of a text as they are compared: without case, accents and other spellings of the same letters."""
    plain = text.lower() if text.isascii() else _plain(text)
    return [word[:LONGEST] for word in WORD.findall(plain)]


def _plain(text: str) -> str:
    spelt = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(letter for letter in spelt if not unicodedata.combining(letter))


@lru_cache(maxsize=4096)
def name_words(name: str) -> list[str]:
    """The words of a name, and those that it may be written with: `gpt2-SqlFix` is also gpt, 2, sql, fix and 2sqlfix.

    >>> name_words("llama-3")
    ['llama', '3', 'llama3']
    """
    words = words_of(name)
    split = [part for word in words if not word.isalpha() for part in PARTS.findall(word)]
    humps = words_of(HUMP.sub(" ", name))
    joined = [first + second for first, second in pairwise(words)]
    return list(dict.fromkeys([*words, *split, *humps, *joined]))


class RepositoryTag(models.Model):
    """A tag word of the card, for facets."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="tags")
    name = models.CharField(max_length=60, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "name"], name="repository_tag_unique")]

    def __str__(self) -> str:
        return self.name


class CardWord(models.Model):
    """What the card says of itself beside its tags, as `language:en` or `dataset:lab/sums`: clients look for these."""

    repository = models.ForeignKey(Repository, on_delete=models.CASCADE, related_name="words")
    word = models.CharField(max_length=220, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["repository", "word"], name="card_word_unique")]

    def __str__(self) -> str:
        return self.word


class SearchEntryRows(models.QuerySet):
    """Entries, found by their words, in the query language of the database's index."""

    def statement(self, query: str, *, names: bool, newest: int | None = None) -> tuple[str, list[str]]:
        """SQL for the ids of the repositories that match; `newest` bounds how many, on SQLite."""
        if connection.vendor == "sqlite":
            bound = f" ORDER BY rowid DESC LIMIT {int(newest)}" if newest else ""
            return f"SELECT rowid FROM hub_search WHERE hub_search MATCH %s{bound}", [query]
        column = "name_lexemes" if names else "lexemes"
        return f"SELECT repository_id FROM hub_searchentry WHERE {column} @@ %s::tsquery", [query]

    def matches(self, query: str, most: int, *, names: bool, several: bool) -> list[int]:
        """Ids of at most `most` that match."""
        statement, values = self.statement(query, names=names, newest=most)
        if connection.vendor == "sqlite":  # Without a transaction, which would wait for those that write.
            return _column(statement, values)
        with transaction.atomic():
            # How often several words go together it doesn't know: it would read all rows, expecting many.
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL enable_seqscan = {'off' if several else 'on'}")
            found = _column(f"{statement} LIMIT {int(most)}", values)
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_seqscan = DEFAULT")
        return found


def _column(statement: str, values: list) -> list:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [row[0] for row in cursor.fetchall()]


class SearchEntry(models.Model):
    """A repository's words, each once, with blanks between. The database's own full-text index is built from them.

    On SQLite triggers of this table keep the index `hub_search`. Migrations that make the table anew make them anew.
    """

    repository = models.OneToOneField(
        Repository, on_delete=models.CASCADE, primary_key=True, related_name="search_entry"
    )
    names = models.TextField(help_text="words of its name, its owner's and its base's")
    words = models.TextField(help_text="words of its tags and its description")
    card = models.TextField(help_text="the first words of its card")
    counted = models.JSONField(default=list, help_text="[facet, value]: what counts it; [] where it isn't public")
    counted_kind = models.CharField(max_length=10, blank=True)

    objects = SearchEntryRows.as_manager()

    def __str__(self) -> str:
        return self.names


class SearchWordRows(models.QuerySet):
    """Words, found by how they are written."""

    def near(self, word: str, *, most: int, milliseconds: int) -> list[str]:
        """Those that share most trigrams with `word`, by pg_trgm or FTS5.

        DatabaseError where PostgreSQL takes longer than that, or has no pg_trgm.
        """
        if connection.vendor == "sqlite":
            trigrams = sorted({f'"{word[place : place + 3]}"' for place in range(len(word) - 2)})
            return _column(NEAR_ON_SQLITE, [" OR ".join(trigrams), most])
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL statement_timeout = {int(milliseconds)}")
                cursor.execute("SET LOCAL pg_trgm.similarity_threshold = 0.25")
            found = _column(NEAR_ON_POSTGRESQL, [word, word, most])
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = DEFAULT")
        return found


class SearchWord(models.Model):
    """A word of some repository's name or tags, to which a mistyped one is corrected."""

    word = models.CharField(max_length=LONGEST, unique=True)

    objects = SearchWordRows.as_manager()

    def __str__(self) -> str:
        return self.word


class FacetCountRows(models.QuerySet):
    """Counts, with the changes that are not added up yet."""

    def commonest(self, kind: str, facets: Sequence[str], most: int) -> list[tuple[str, str, int]]:
        """(facet, value, n) of the commonest values of each facet, and of all that changed since: the last one counts.

        One statement sees one moment, so that nothing is counted twice.
        """
        query = " UNION ALL ".join([*[COMMONEST] * len(facets), CHANGED])
        with connection.cursor() as cursor:
            cursor.execute(query, [*(value for facet in facets for value in (kind, facet, most)), kind, kind])
            rows = sorted(cursor.fetchall(), key=lambda row: row[3])  # UNION ALL promises no order.
            return [(facet, value, int(n)) for facet, value, n, _ in rows]


class FacetCount(models.Model):
    """How many public repositories of a kind have this value, but for what `FacetChange` has since."""

    kind = models.CharField(max_length=10)
    facet = models.CharField(max_length=12)
    value = models.CharField(max_length=300)
    n = models.BigIntegerField()

    objects = FacetCountRows.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["kind", "facet", "value"], name="facet_count_unique")]
        indexes = [models.Index(fields=["kind", "facet", "-n"], name="facet_count_most")]

    def __str__(self) -> str:
        return f"{self.kind} {self.facet}={self.value}: {self.n}"


class FacetChange(models.Model):
    """One more or one less. Rows of their own, so that nobody who publishes waits for another's count."""

    kind = models.CharField(max_length=10)
    facet = models.CharField(max_length=12)
    value = models.CharField(max_length=300)
    n = models.SmallIntegerField()

    class Meta:
        indexes = [models.Index(fields=["kind", "facet", "value"], name="facet_change_value")]

    def __str__(self) -> str:
        return f"{self.kind} {self.facet}={self.value}: {self.n:+}"
