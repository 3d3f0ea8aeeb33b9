"""The repositories that a viewer sees, narrowed by words and facets, in an order that keyset paging can follow."""

from collections.abc import Iterable

from django.db.models import Q, QuerySet

from hub.access import Viewer, visible
from hub.errors import Invalid
from hub.models import BaseModel, Kind, Namespace, Repository, RepositoryTag, sharing_names
from hub.queries.finding.matching import meant_by

RELEVANCE = "relevance"
"""The order of `hub.queries.finding.ranking`; the others are columns."""
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


def order_of(sort: str, search: str) -> str:
    """The order that is meant: by relevance where words are searched and none is named, by age of change without."""
    if not search.strip():
        return "updated" if sort in ("", RELEVANCE) else sort
    return sort or RELEVANCE


def repositories(
    viewer: Viewer,
    *,
    kind: str | None = None,
    search: str = "",
    sort: str = "updated",
    **facets: str | Iterable[str] | None,
) -> QuerySet[Repository]:
    """Those with every word of `search` and, of each facet, one of the values asked for."""
    if sort not in SORTS:
        raise Invalid(f"sort={sort!r} is not an order; choose one of {', '.join(SORTS)}.", field="sort")
    found = Repository.objects.listed().filter(visible(viewer))
    if kind:
        found = found.filter(kind=kind)
    if search:
        found = found.filter(meant_by(search))
    for name, value in facets.items():
        values = [value] if isinstance(value, str | int) else list(value or ())
        if values := [str(one) for one in values if one not in (None, "")]:
            found = found.filter(_having(name, values))
    return found.order_by(SORTS[sort], "-pk")


def _having(name: str, values: list[str]) -> Q:
    """The filter for one facet. Keys are looked up first: the list's order then comes from an index with the key."""
    if name == "rank":
        for value in values:
            if not (value.isascii() and value.isdigit() and len(value) < 10):
                raise Invalid(f"rank={value!r} is not a whole number; give one, such as 16.", field="rank")
    if name == "tag":
        return Q(pk__in=RepositoryTag.objects.filter(name__in=values).values("repository"))
    if name == "base":
        return _one_of("base", list(BaseModel.objects.filter(name__in=values).values_list("pk", flat=True)))
    if name == "owner":
        return _one_of("namespace", list(Namespace.objects.filter(name__in=values).values_list("pk", flat=True)))
    return _one_of(FACETS[name], values)


def _one_of(column: str, values: list) -> Q:
    return Q(**{column: values[0]}) if len(values) == 1 else Q(**{f"{column}__in": values})


def of_type(viewer: Viewer, *, datasets: bool, search: str = "") -> QuerySet[Repository]:
    """The datasets that this viewer sees, or the models; each word of `search` is in `namespace/name` or the base's."""
    found = Repository.objects.listed().filter(visible(viewer))
    found = found.filter(sharing_names(Kind.DATASET if datasets else Kind.ADAPTER))
    return found.filter(meant_by(search, names=True)) if search.strip() else found
