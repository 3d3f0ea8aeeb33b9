"""The facet columns of a repository: its newest version's facts and its card's words; browsing asks one table."""

from django.utils import timezone

from hub.errors import Invalid
from hub.models import ManifestEntry, Repository, RepositoryTag, Revision, Version
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
        repository.base = version.base
        repository.origin = version.origin
        repository.peft_type = version.facts.get("peft_type", "") if repository.is_adapter else ""
        repository.rank = max(version.facts.get("ranks") or [version.facts.get("adapter_rank") or 0]) or None
        own = ManifestEntry.objects.filter(revision=version.revision)
        repository.size = sum(own.values_list("blob__size", flat=True))
    if main:
        _apply_card(repository, checked.card or Card(), revision)
    repository.save(update_fields=COLUMNS)


def _apply_card(repository: Repository, card: Card, revision: Revision) -> None:
    repository.license = card.license
    if card.description or repository.description in ("", _summary_before(revision)):
        repository.description = card.description or card.summary
    RepositoryTag.objects.filter(repository=repository).exclude(name__in=card.tags).delete()
    RepositoryTag.objects.bulk_create(
        [RepositoryTag(repository=repository, name=name) for name in card.tags], ignore_conflicts=True
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
