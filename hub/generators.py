"""Which generators there are for a base, and which one made an adapter: reads that pages, API and services share."""

from collections.abc import Sequence

from hub import queries
from hub.access import Viewer
from hub.models import BaseModel, Kind, Origin, Version


def generators_of(viewer: Viewer, base: BaseModel | None = None, most: int = 100) -> list[Version]:
    """The newest version of each generator this viewer sees: those of his namespaces first, then the newest first."""
    found = queries.repositories(viewer, kind=Kind.GENERATOR)
    rows = list((found.filter(base=base) if base else found.exclude(base=None))[:most])
    newest = queries.latest_versions(rows)
    mine = {row.namespace_id for row in queries.memberships(viewer)} if viewer.user else set()
    versions = [newest[row.pk] for row in rows if row.pk in newest]
    return sorted(versions, key=lambda one: (one.repository.namespace_id not in mine, -one.created_at.timestamp()))


def generator_behind(version: Version) -> Version | None:
    """The generator that wrote a generated adapter; None for another's."""
    if version.origin != Origin.GENERATED:
        return None
    rows = version.parentage.select_related("parent__repository__namespace", "parent__base")
    return next((row.parent for row in rows if row.parent.repository.kind == Kind.GENERATOR), None)


def seen(viewer: Viewer, versions: Sequence[Version]) -> list[Version]:
    """Of these, those the viewer may see."""
    ids = queries.seen(viewer, [version.repository_id for version in versions])
    return [version for version in versions if version.repository_id in ids]
