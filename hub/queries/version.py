"""Versions of a repository, their parents and children."""

from collections.abc import Sequence

from django.core.cache import cache
from django.db.models import Count, Prefetch, Q, QuerySet
from django.db.models.fields.json import KeyTransform

from composition.facts import AdapterFacts
from composition.formats.peft.layouts.choosing import advice
from hub.access import Viewer, visible
from hub.models import (
    Parentage,
    Repository,
    Revision,
    Version,
    heavy,
)

RULES = 1
"""Goes up with the rules of `composition.formats.servers`, so that no answer of old ones is kept."""


def versions(repository: Repository) -> QuerySet[Version]:
    """All versions, newest first, with author and the revision that made each."""
    first_revisions = Prefetch("revisions", Revision.objects.order_by("pk"))
    found = Version.objects.filter(repository=repository).select_related("created_by", "base")
    found = found.defer(*heavy(base="base__"))
    return found.prefetch_related(first_revisions).order_by("-number")


def compared_versions(repository: Repository, facts: Sequence[str]) -> list[Version]:
    """All versions, newest first, with these facts alone, and with `norm`, the ΔW's as a merge reported it."""
    said = {f"fact_{name}": KeyTransform(name, "facts") for name in facts}
    norm = KeyTransform("norm", KeyTransform("summary", "report"))
    rows = list(versions(repository).defer(*heavy("", "base__")).annotate(**said, norm=norm))
    for row in rows:
        row.facts = {name: getattr(row, f"fact_{name}") for name in facts}
    return rows


def servers(version: Version) -> list[dict]:
    """What inference servers make of an adapter's version as it is stored; [] for other kinds.

    [{"server", "label", "answer": right, wrong or refuses, "why", "factors": [least, greatest] or null, "modules": how
    many are wrong, "uniform": whether the uniform form is right there, "rank": the largest rank to hold}]
    """
    if not version.repository.is_adapter:
        return []
    base = version.base
    key = f"servers:{RULES}:{version.pk}:{version.content_digest}:{base.fingerprint if base else ''}"
    found = cache.get(key)
    if found is None:
        rows = advice(AdapterFacts.from_dict(version.facts), base.shapes if base else None)
        found = [row.to_dict() for row in rows]
        cache.set(key, found)
    return found


def lineage(viewer: Viewer, version: Version) -> dict[str, list[dict]]:
    """Parents and children one step away, each with the recipe between; what can't be seen is {"hidden": True}."""
    seen = set(
        Repository.objects.filter(visible(viewer))
        .filter(Q(versions__offspring__child=version) | Q(versions__parentage__parent=version))
        .values_list("pk", flat=True)
    )
    related = "repository__namespace"
    up = Parentage.objects.filter(child=version).select_related(f"parent__{related}", "child")
    up = up.defer(*heavy("parent__"), "child__facts", "child__report")
    down = Parentage.objects.filter(parent=version).select_related(f"child__{related}").order_by("child_id")
    down = down.defer("child__facts", "child__report", "child__environment")

    def node(relative: Version, made: Version, position: int) -> dict:
        if relative.repository_id not in seen:
            return {"hidden": True, "position": position}
        return {
            "hidden": False,
            "repository": relative.repository.path,
            "version": relative.label,
            "name": str(relative),
            "origin": relative.origin,
            "method": (made.recipe or {}).get("kind", ""),
            "recipe": made.recipe,
            "position": position,
        }

    return {
        "parents": [node(row.parent, row.child, row.position) for row in up],
        "children": [node(row.child, row.child, row.position) for row in down],
    }


def children_counts(viewer: Viewer, found: Sequence[Repository]) -> dict[int, int]:
    """Repository id → how many others that the viewer sees were made from it, in one query."""
    rows = Parentage.objects.filter(visible(viewer, prefix="child__repository__"))
    rows = rows.filter(parent__repository__in=[row.pk for row in found]).order_by()
    counted = rows.values("parent__repository").annotate(n=Count("child__repository", distinct=True))
    return {row["parent__repository"]: row["n"] for row in counted}
