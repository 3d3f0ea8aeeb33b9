"""Entering the repositories that have no entry: those of an earlier release, or that another tool wrote.

Newest first, in batches; it goes on where it was stopped, since what is entered is not looked for again.
"""

from collections import Counter
from collections.abc import Callable

from django.db import IntegrityError, transaction

from hub.errors import HubError
from hub.models import ManifestEntry, Ref, RefKind, Repository, SearchEntry
from hub.services.catalogue import counts, enter, fill, learn
from hub.services.content.cards import MAX_CARD, Card, read_card
from hub.services.content.manifest import CARD, BlobSource, Entry, read_whole

BATCH = 500


def enter_missing(go_on: Callable[[], bool]) -> int:
    """Enter what is missing, as long as `go_on` says so; how many."""
    missing, entered, below = Repository.objects.filter(search_entry=None, purged_at=None), 0, None
    while go_on():
        rows = missing if below is None else missing.filter(pk__lt=below)
        batch = list(rows.order_by("-pk").values_list("pk", flat=True)[:BATCH])
        if not batch:
            break
        cards = _cards(batch)
        try:
            _enter_all(batch, cards)
        except IntegrityError:  # Someone wrote one of them at this moment.
            for pk in batch:
                enter(Repository(pk=pk), card=cards.get(pk, Card()))
        entered, below = entered + len(batch), batch[-1]
    while counts.add_up() == counts.AT_ONCE and go_on():
        pass
    return entered


@transaction.atomic
def _enter_all(batch: list[int], cards: dict[int, Card]) -> None:
    """Enter all of a batch that none is entered of."""
    entries, words, counted = [], set(), []
    for row in Repository.objects.listed().prefetch_related("tags").filter(pk__in=batch).order_by("pk"):
        entry = SearchEntry(repository=row)
        words |= fill(entry, row, cards.get(row.pk, Card()))
        counted += [(entry.counted_kind, *pair) for pair in entry.counted]
        entries.append(entry)
    SearchEntry.objects.bulk_create(entries)
    learn(words)
    counts.add(Counter(counted))


def _cards(repositories: list[int]) -> dict[int, Card]:
    """The cards on `main` that can be read now."""
    heads = Ref.objects.filter(repository__in=repositories, kind=RefKind.BRANCH, name="main")
    of = dict(heads.values_list("revision", "repository"))
    rows = ManifestEntry.objects.filter(revision__in=of, path=CARD, blob__size__lte=MAX_CARD)
    cards = {}
    for revision, sha256, size in rows.values_list("revision", "blob", "blob__size"):
        try:
            cards[of[revision]] = read_card(read_whole(BlobSource(Entry(sha256, size))))
        except (HubError, OSError):
            continue
    return cards
