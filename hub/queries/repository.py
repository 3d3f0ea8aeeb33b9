"""Repositories as lists: what a viewer sees, narrowed by words and facets; their files, refs and companions."""

from collections.abc import Collection, Iterable, Sequence

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery, prefetch_related_objects

from hub import access
from hub.access import Viewer, visible
from hub.errors import Invalid, NotFound
from hub.models import (
    Blob,
    Companion,
    Kind,
    ManifestEntry,
    Ref,
    RefKind,
    Repository,
    Revision,
    Version,
    sharing_names,
)

SORTS = {"updated": "-updated_at", "created": "-created_at", "downloads": "-downloads", "name": "name"}
FACETS = {
    "base": "base__name",
    "peft_type": "peft_type",
    "rank": "rank",
    "license": "license",
    "origin": "origin",
    "owner": "namespace__name",
    "tag": "tags__name",
}
FACET_VALUES = 30


def repositories(
    viewer: Viewer, *, kind: str | None = None, search: str = "", sort: str = "updated", **facets: str
) -> QuerySet[Repository]:
    """The repositories this viewer sees, narrowed by words and facets, in an order that keyset paging can follow."""
    if sort not in SORTS:
        raise Invalid(f"sort={sort!r} is not an order; choose one of {', '.join(SORTS)}.", field="sort")
    found = Repository.objects.select_related("namespace", "base").filter(visible(viewer))
    if kind:
        found = found.filter(kind=kind)
    for word in search.split()[:8]:
        found = found.filter(
            Q(name__icontains=word)
            | Q(namespace__name__icontains=word)
            | Q(description__icontains=word)
            | Q(base__name__icontains=word)
        )
    for name, value in facets.items():
        if value in (None, ""):
            continue
        if name == "rank" and not str(value).isdigit():
            raise Invalid(f"rank={value!r} is not a whole number; give one, such as 16.", field="rank")
        found = found.filter(**{FACETS[name]: value})
    return found.order_by(SORTS[sort], "-pk")


def of_type(viewer: Viewer, *, datasets: bool, search: str = "") -> QuerySet[Repository]:
    """The datasets that this viewer sees, or the models; each word of `search` is in `namespace/name` or the base's."""
    found = Repository.objects.select_related("namespace", "base").filter(visible(viewer))
    found = found.filter(sharing_names(Kind.DATASET if datasets else Kind.ADAPTER))
    for word in search.split()[:8]:
        owner, slash, rest = word.partition("/")
        both = Q(namespace__name__iendswith=owner, name__istartswith=rest)
        plain = Q(name__icontains=word) | Q(namespace__name__icontains=word) | Q(base__name__icontains=word)
        found = found.filter(both | Q(base__name__icontains=word) if slash else plain)
    return found


def all_words(rows: QuerySet[Repository]) -> QuerySet[Repository]:
    """With tags and the card's words loaded, in two more queries."""
    return rows.prefetch_related("tags", "words")


def with_words(row: Repository) -> Repository:
    """The same of one."""
    prefetch_related_objects([row], "tags", "words")
    return row


def seen(viewer: Viewer, repositories: Iterable[int]) -> set[int]:
    """Of these repositories' ids, those the viewer may see."""
    return set(Repository.objects.filter(visible(viewer), pk__in=set(repositories)).values_list("pk", flat=True))


def facets(found: QuerySet[Repository]) -> dict[str, list[tuple[str, int]]]:
    """For each facet the commonest values among `found`, with their counts."""
    counts = {}
    for name, column in FACETS.items():
        rows = found.order_by().values(column).annotate(n=Count("pk", distinct=True)).order_by("-n", column)
        counts[name] = [(str(row[column]), row["n"]) for row in rows[:FACET_VALUES] if row[column] not in (None, "")]
    return counts


def trash(viewer: Viewer) -> QuerySet[Repository]:
    """Deleted repositories of the namespaces this viewer is admin of."""
    admin_of = access.require_user(viewer).memberships.filter(role="admin").values("namespace")
    deleted = Repository.objects.select_related("namespace", "base").filter(deleted_at__isnull=False, purged_at=None)
    if viewer.limit:
        deleted = deleted.filter(viewer.limit.covered())
    return deleted.filter(namespace__in=admin_of).order_by("-deleted_at", "-pk")


def latest_versions(found: Sequence[Repository]) -> dict[int, Version]:
    """Repository id → its newest version, in one query."""
    newest = Version.objects.filter(repository=OuterRef("repository")).order_by("-number").values("pk")[:1]
    rows = Version.objects.filter(repository__in=[r.pk for r in found], pk=Subquery(newest))
    return {row.repository_id: row for row in rows.select_related("base", "repository__namespace")}


def files(revision: Revision, *, only: Collection[str] | None = None) -> list[dict]:
    """The manifest: path, size and SHA-256 of each file, by path; of the paths in `only` where they are given."""
    entries = ManifestEntry.objects.filter(revision=revision).select_related("blob").order_by("path")
    entries = entries if only is None else entries.filter(path__in=only)
    return [{"path": entry.path, "size": entry.blob.size, "sha256": entry.blob_id} for entry in entries]


def file(revision: Revision, path: str) -> Blob:
    """The blob at `path`, or NotFound."""
    entry = ManifestEntry.objects.filter(revision=revision, path=path).select_related("blob").first()
    if entry is None:
        raise NotFound(f"There is no file {path!r} in {revision.oid[:10]}.", code="file_not_found")
    return entry.blob


def refs(repository: Repository) -> QuerySet[Ref]:
    """Branches and tags with what they point at, by name."""
    rows = Ref.objects.filter(repository=repository, kind__in=(RefKind.BRANCH, RefKind.TAG))
    return rows.select_related("revision__version").order_by("name", "kind")


def proposed(repository: Repository) -> QuerySet[Ref]:
    """What pull requests propose, by number."""
    rows = Ref.objects.filter(repository=repository, kind=RefKind.PULL).select_related("revision__version")
    return rows.order_by("pk")


def companion(viewer: Viewer, repository: Repository, kind: str, name: str) -> Companion | None:
    """One companion, where this viewer may see it."""
    return access.companions(viewer, repository).filter(kind=kind, name=name).first()


def used_storage(found: Sequence[Repository]) -> dict[int, int]:
    """Repository id → bytes of all its revisions, each digest once, in one query."""
    sums = dict.fromkeys((row.pk for row in found), 0)
    rows = Blob.objects.filter(entries__revision__repository__in=sums)
    for pk, _, size in rows.values_list("entries__revision__repository", "pk", "size").distinct():
        sums[pk] += size
    return sums
