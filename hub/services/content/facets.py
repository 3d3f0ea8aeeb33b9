"""The facet columns of a repository: its newest version's facts and its card's words; browsing asks one table."""

from django.utils import timezone

from hub.errors import Invalid
from hub.models import CardWord, ManifestEntry, Repository, RepositoryTag, Revision, Version
from hub.services import catalogue
from hub.services.content.cards import Card, read_card
from hub.services.content.checking import Checked
from hub.services.content.manifest import CARD, BlobSource, manifest_of, read_whole

COLUMNS = ["updated_at", "base", "origin", "peft_type", "rank", "size", "license", "description"]


def refresh(
    repository: Repository, *, revision: Revision, checked: Checked, version: Version | None, main: bool
) -> None:
    """Repeat on the row what `revision` says; the card's words only from `main`, facts only from the newest version."""
    repository.updated_at = timezone.now()
    if version and not Version.objects.filter(repository=repository, number__gt=version.number).exists():
        for name, value in of_version(repository, version).items():
            setattr(repository, name, value)
        repository.size = size_of(version.revision)
    if main:
        _apply_card(repository, checked.card or Card(), revision)
    repository.save(update_fields=COLUMNS)
    catalogue.enter(repository, card=(checked.card or Card()) if main else None)


def of_version(repository: Repository, version: Version) -> dict[str, object]:
    """The columns that repeat a version's facts."""
    return {
        "base": version.base,
        "origin": version.origin,
        "peft_type": version.facts.get("peft_type", "") if repository.is_adapter else "",
        "rank": max(version.facts.get("ranks") or [version.facts.get("adapter_rank") or 0]) or None,
    }


def size_of(revision: Revision) -> int:
    """Bytes of all files."""
    return sum(ManifestEntry.objects.filter(revision=revision).values_list("blob__size", flat=True))


def apply_words(repository: Repository, card: Card) -> None:
    """Write the card's licence, tags and words again."""
    Repository.objects.filter(pk=repository.pk).update(license=card.license)
    _apply_tags(repository, card)
    catalogue.enter(repository, card=card)


def _apply_card(repository: Repository, card: Card, revision: Revision) -> None:
    repository.license = card.license
    if card.description or repository.description in ("", _summary_before(revision)):
        repository.description = card.description or card.summary
    _apply_tags(repository, card)


def _apply_tags(repository: Repository, card: Card) -> None:
    RepositoryTag.objects.filter(repository=repository).exclude(name__in=card.tags).delete()
    RepositoryTag.objects.bulk_create(
        [RepositoryTag(repository=repository, name=name) for name in card.tags], ignore_conflicts=True
    )
    CardWord.objects.filter(repository=repository).exclude(word__in=card.words).delete()
    CardWord.objects.bulk_create(
        [CardWord(repository=repository, word=word) for word in card.words], ignore_conflicts=True
    )


def _summary_before(revision: Revision) -> str:
    """The summary of the previous card, which served as the description if no one wrote one."""
    before = manifest_of(revision.parent)
    if CARD not in before:
        return ""
    try:
        return read_card(read_whole(BlobSource(before[CARD]))).summary
    except Invalid:
        return ""
