"""Which generators there are for a base, and which one made an adapter: reads that pages, API and services share."""

from collections import Counter
from collections.abc import Sequence

from hub import access
from hub.access import Viewer
from hub.models import BaseModel, Companion, Kind, Origin, Version
from hub.models.companions import STATE
from hub.queries.account import memberships
from hub.queries.finding.listing import repositories
from hub.queries.repository import latest_versions
from hub.queries.repository import seen as seen_of

STATES_LOOKED_AT = 1000


def generators_of(viewer: Viewer, base: BaseModel | None = None, most: int = 100) -> list[Version]:
    """The newest version of each generator this viewer sees: those of their namespaces first, then the newest first."""
    found = repositories(viewer, kind=Kind.GENERATOR)
    rows = list((found.filter(base=base) if base else found.exclude(base=None))[:most])
    newest = latest_versions(rows)
    mine = {row.namespace_id for row in memberships(viewer)} if viewer.user else set()
    versions = [newest[row.pk] for row in rows if row.pk in newest]
    return sorted(versions, key=lambda one: (one.repository.namespace_id not in mine, -one.created_at.timestamp()))


def generator_behind(version: Version) -> Version | None:
    """The generator that wrote a generated adapter; None for other adapters."""
    if version.origin != Origin.GENERATED:
        return None
    rows = version.parentage.select_related("parent__repository__namespace", "parent__base")
    return next((row.parent for row in rows if row.parent.repository.is_generator), None)


def parts_of(viewer: Viewer, whole: Version, most: int = 100) -> list[Version]:
    """Generated adapters whose kept states can be subtracted from `whole`: made from some of its texts, and visible."""
    state = access.companions(viewer, whole.repository).filter(kind=STATE, name=f"{whole.label}.safetensors").first()
    if state is None:
        return []
    may_see = access.visible(viewer, prefix="repository__") & access.visible_companions(viewer)
    rows = Companion.objects.filter(may_see, kind=STATE, facts__generator=state.facts.get("generator"))
    rows = rows.exclude(pk=state.pk).order_by("-pk")[:STATES_LOOKED_AT]
    known = Counter(state.facts.get("texts", []))
    fit = [row for row in rows if (texts := Counter(row.facts.get("texts", []))) and texts <= known][:most]
    versions = Version.objects.filter(repository__in={row.repository_id for row in fit})
    by_name = {(one.repository_id, one.label): one for one in versions.select_related("repository__namespace")}
    places = [(row.repository_id, row.name.removesuffix(".safetensors")) for row in fit]
    return [by_name[place] for place in places if place in by_name]


def seen(viewer: Viewer, versions: Sequence[Version]) -> list[Version]:
    """The versions among these that the viewer may see."""
    ids = seen_of(viewer, [version.repository_id for version in versions])
    return [version for version in versions if version.repository_id in ids]
