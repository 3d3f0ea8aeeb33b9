"""The catalogue: for each repository the words that it is found by, and what it adds to the counts of facets.

Whoever writes what the catalogue repeats (name, owner, kind, visibility, facts, card) calls `enter` in the same
transaction. It compares with what was entered before, so that entering twice changes nothing.
"""

from collections.abc import Collection, Sequence

from django.db import transaction

from hub.models import Repository, SearchEntry, SearchWord, Visibility, name_words, words_of
from hub.models.search import PARTS
from hub.services.catalogue import counts
from hub.services.catalogue.card_words import card_words
from hub.services.content.cards import Card

MOST_WORDS = 200
"""Words of a description that are entered, and of a card."""
SHORTEST = 4
"""Letters of a word that mistyped ones are corrected to."""


@transaction.atomic
def enter(repository: Repository, *, card: Card | None = None) -> None:
    """Write the repository's entry again; the card's words stay as they are where no card is given."""
    # Under its lock before it is read: what another has written by then is what is entered.
    held = Repository.objects.select_for_update(of=("self",), no_key=True).listed()
    row = held.prefetch_related("tags").filter(pk=repository.pk).first()
    if row is not None:
        _write(row, _held_entry(row), card)


def is_stale(repository: Repository) -> bool:
    """Whether the entry says something else than the row; of the card's words nothing is known. False without one."""
    row = Repository.objects.listed().prefetch_related("tags").filter(pk=repository.pk).first()
    entry = SearchEntry.objects.filter(pk=repository.pk).first()
    if row is None or entry is None:
        return False
    fresh = SearchEntry(repository=row)
    fill(fresh, row, None)
    return any(getattr(entry, name) != getattr(fresh, name) for name in ("names", "words", "counted", "counted_kind"))


def _held_entry(row: Repository) -> SearchEntry:
    """The entry under its lock; a new one is empty."""
    entries = SearchEntry.objects.select_for_update().filter(pk=row.pk)
    found = entries.first()
    if found is None:
        SearchEntry.objects.bulk_create([SearchEntry(repository=row, counted=[])], ignore_conflicts=True)
        found = entries.get()
    return found


def _write(row: Repository, entry: SearchEntry, card: Card | None) -> None:
    before = {(entry.counted_kind, *pair) for pair in entry.counted}
    learned = fill(entry, row, card)
    entry.save()
    after = {(entry.counted_kind, *pair) for pair in entry.counted}
    counts.change(before - after, after - before)
    learn(learned)


def fill(entry: SearchEntry, row: Repository, card: Card | None) -> set[str]:
    """Say in the entry what the row says, whose namespace, base and tags are loaded; the words to `learn` of it.

    Of what isn't public none is learned: whether a mistyped word is corrected would tell anyone that it is known.
    """
    tags, counted = [tag.name for tag in row.tags.all()], []
    if row.deleted_at is None and row.visibility == Visibility.PUBLIC:
        counted = sorted(counts.values_of(row, tags))
    entry.counted, entry.counted_kind = [list(pair) for pair in counted], row.kind
    if row.purged_at:
        entry.names = entry.words = entry.card = ""
        return set()
    named, tagged = _names(row), words_of(" ".join(tags))
    told = [*tagged, *words_of(row.description)]
    entry.names, entry.words = " ".join(named), _distinct(told, named)
    if card is not None:
        entry.card = _distinct(card_words(card), [*named, *told])
    if not counted:
        return set()
    plain = {part for word in words_of(f"{row.full_name} {row.base or ''}") for part in PARTS.findall(word)}
    return {word for word in {*plain, *tagged} if len(word) >= SHORTEST and word.isalpha()}


def learn(words: Collection[str]) -> None:
    """Remember words that mistyped ones are corrected to."""
    # Not asked first which are there: PostgreSQL may look for them by the trigrams of each.
    SearchWord.objects.bulk_create([SearchWord(word=word) for word in sorted(words)], ignore_conflicts=True)


def _names(row: Repository) -> list[str]:
    owner = row.namespace.name if row.namespace_id else ""
    base = row.base.name if row.base_id else ""
    return list(dict.fromkeys([*name_words(row.name), *name_words(owner), *name_words(base)]))


def _distinct(words: Sequence[str], there: Sequence[str]) -> str:
    """Each word once, without those that are there already."""
    known = set(there)
    return " ".join([word for word in dict.fromkeys(words) if word not in known][:MOST_WORDS])
