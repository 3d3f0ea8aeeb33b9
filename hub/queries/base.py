"""Base models with what belongs to them."""

from django.db.models import Count, OuterRef, QuerySet, Subquery

from hub.access import Viewer, visible
from hub.models import (
    BaseModel,
    Kind,
    Repository,
)


def bases(viewer: Viewer) -> QuerySet[BaseModel]:
    """All bases with the number of visible adapters on each, by name."""
    adapters = Repository.objects.filter(visible(viewer), kind=Kind.ADAPTER, base=OuterRef("pk")).order_by()
    count = adapters.values("base").annotate(n=Count("pk")).values("n")
    found = BaseModel.objects.select_related("derived_from", "created_by").prefetch_related("aliases")
    return found.annotate(adapters=Subquery(count)).order_by("name", "revision")
