"""Base models with what belongs to them, and which ids are none of this hub's repositories."""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from django.db.models import (
    Case,
    CharField,
    Count,
    IntegerField,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce

from hub.access import Viewer, visible
from hub.models import (
    BaseAlias,
    BaseModel,
    FacetChange,
    FacetCount,
    Kind,
    Namespace,
    Repository,
    Visibility,
    fold,
    heavy,
)


def bases(viewer: Viewer) -> QuerySet[BaseModel]:
    """All bases with the number of visible adapters on each, by name."""
    kept = {"kind": Kind.ADAPTER, "facet": "base_id", "value": Cast(OuterRef("pk"), CharField())}
    public = FacetCount.objects.filter(**kept).values("n")
    changed = FacetChange.objects.filter(**kept).order_by().values("value").annotate(sum=Sum("n")).values("sum")
    found = BaseModel.objects.select_related("derived_from", "created_by").prefetch_related("aliases")
    found = found.defer(*heavy(base=""), *heavy(base="derived_from__"))
    return found.annotate(adapters=_number(public) + _number(changed) + _own(viewer)).order_by("name", "revision")


def _number(found: QuerySet) -> Coalesce:
    return Coalesce(Subquery(found), 0, output_field=IntegerField())


def _own(viewer: Viewer) -> Case | Value:
    """The private adapters that this viewer sees, which nothing keeps the number of."""
    if viewer.user is None:
        return Value(0)
    rows = Repository.objects.filter(visible(viewer), kind=Kind.ADAPTER, visibility=Visibility.PRIVATE, base__gt=0)
    counted = rows.order_by().values_list("base").annotate(n=Count("pk"))
    return Case(*(When(pk=pk, then=n) for pk, n in counted), default=0, output_field=IntegerField())


def base_manifest(base: BaseModel) -> dict[str, tuple[str, int]]:
    """Path → (SHA-256, size) of the files that the hub serves of it, by path."""
    rows = base.files.order_by("path").values_list("path", "blob", "blob__size")
    return {path: (sha256, size) for path, sha256, size in rows}


def base_commit(manifest: Mapping[str, tuple[str, int]]) -> str:
    """40 hex digits for these files: what clients take for the commit of a base, which has no history."""
    lines = "".join(f"{path}\0{sha256}\n" for path, (sha256, _) in sorted(manifest.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:40]


def served_bases(name: str) -> list[BaseModel]:
    """The revisions that have files, of the base of this name or alias: `main` first, the others by age."""
    rows = BaseModel.objects.filter(name__iexact=name).exclude(files=None).distinct()
    if not rows.exists():
        alias = BaseAlias.objects.filter(folded=fold(name)).first()
        rows = BaseModel.objects.filter(pk=alias.base_id if alias else None).exclude(files=None).distinct()
    return sorted(rows, key=lambda row: (row.revision != "main", row.pk))


def base_changed_at(base: BaseModel) -> datetime:
    """When the newest of its files came."""
    return base.files.aggregate(at=Max("blob__created_at"))["at"] or base.created_at


def is_kept_elsewhere(namespace: str, name: str) -> bool:
    """Whether an id can't be a repository here: its namespace is none of this hub, or a base is registered by it."""
    if not Namespace.objects.filter(name__iexact=namespace).exists():
        return True
    called = f"{namespace}/{name}"
    return BaseModel.objects.filter(Q(name__iexact=called) | Q(aliases__folded=fold(called))).exists()
