"""Base models with what belongs to them, and which ids are none of this hub's repositories."""

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery

from hub.access import Viewer, visible
from hub.models import (
    BaseModel,
    Kind,
    Namespace,
    Repository,
    fold,
)


def bases(viewer: Viewer) -> QuerySet[BaseModel]:
    """All bases with the number of visible adapters on each, by name."""
    adapters = Repository.objects.filter(visible(viewer), kind=Kind.ADAPTER, base=OuterRef("pk")).order_by()
    count = adapters.values("base").annotate(n=Count("pk")).values("n")
    found = BaseModel.objects.select_related("derived_from", "created_by").prefetch_related("aliases")
    return found.annotate(adapters=Subquery(count)).order_by("name", "revision")


def is_kept_elsewhere(namespace: str, name: str) -> bool:
    """Whether an id can't be a repository here: its namespace is none of this hub, or a base is registered by it."""
    if not Namespace.objects.filter(name__iexact=namespace).exists():
        return True
    called = f"{namespace}/{name}"
    return BaseModel.objects.filter(Q(name__iexact=called) | Q(aliases__folded=fold(called))).exists()
