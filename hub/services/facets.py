"""The facet columns of a repository: its newest version's facts and its card's words; browsing asks one table."""

from django.utils import timezone

from hub.models import Kind, ManifestEntry, Repository, RepositoryTag, Revision, Version
from hub.services.cards import Card
from hub.services.checking import Checked

COLUMNS = ["updated_at", "base", "origin", "peft_type", "rank", "size", "license", "description"]


def refresh(
    repository: Repository, *, revision: Revision, checked: Checked, version: Version | None, main: bool
) -> None:
    """Repeat on the row what `revision` says; the card's words only from `main`, facts only from the newest version."""
    repository.updated_at = timezone.now()
    if version and not Version.objects.filter(repository=repository, number__gt=version.number).exists():
        repository.base = version.base
        repository.origin = version.origin
        repository.peft_type = version.facts.get("peft_type", "") if repository.kind == Kind.ADAPTER else ""
        repository.rank = max(version.facts.get("ranks") or [0]) or None
        repository.size = sum(ManifestEntry.objects.filter(revision=revision).values_list("blob__size", flat=True))
    if main:
        _apply_card(repository, checked.card or Card())
    repository.save(update_fields=COLUMNS)


def _apply_card(repository: Repository, card: Card) -> None:
    repository.license = card.license
    if card.description or not repository.description:
        repository.description = card.description or card.summary
    RepositoryTag.objects.filter(repository=repository).exclude(name__in=card.tags).delete()
    RepositoryTag.objects.bulk_create(
        [RepositoryTag(repository=repository, name=name) for name in card.tags], ignore_conflicts=True
    )
