"""Repositories by a ref that they have: what a tag, a branch or a version stands for in many at once."""

from collections.abc import Sequence

from django.db.models import Exists, OuterRef, QuerySet

from hub.models import RefKind, Repository, Revision, heavy
from hub.names import VERSION


def with_ref(found: QuerySet[Repository], ref: str) -> QuerySet[Repository]:
    """Those of the repositories that have this tag, branch or version."""
    return found.filter(Exists(_pointed_at(ref).filter(repository=OuterRef("pk"))))


def at_ref(found: Sequence[int], ref: str) -> dict[int, Revision]:
    """Repository id → the revision that `ref` stands for there, of these ids, in one query."""
    rows = _pointed_at(ref).filter(repository__in=found).select_related("version")
    rows = rows.defer(*heavy("version__"))
    return {row.repository_id: row for row in rows.order_by("-pk")}


def _pointed_at(ref: str) -> QuerySet[Revision]:
    """The revisions, of whatever repository, that a name stands for; of a version all that have its files."""
    if number := VERSION.fullmatch(ref):
        return Revision.objects.filter(version__number=int(number[1]))
    return Revision.objects.filter(refs__name=ref, refs__kind__in=(RefKind.BRANCH, RefKind.TAG))
