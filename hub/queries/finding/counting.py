"""How many repositories there are of each facet's values, as one viewer sees them.

Without a search or filters the counts that `hub.services.catalogue` keeps of public repositories answer, exactly, and
the viewer's own private ones are added. Within a search or filters the first `MOST` rows are counted: where there are
more, a count says "at least".
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import QuerySet

from hub.access import Viewer
from hub.models import FacetCount, Repository, RepositoryTag, UpkeepTask, Visibility
from hub.queries.finding.listing import FACETS, repositories
from hub.queries.finding.ranking import COLUMNS, Ranking, ranked

MOST = 1000
SHOWN = 30
"""Values of a facet that are shown."""
KIND = "kind"
PLAIN = tuple(name for name in FACETS if name != "tag")
RANKED = tuple(COLUMNS.index(name) for name in ("pk", *(FACETS[name] for name in PLAIN)))


@dataclass(frozen=True, slots=True)
class Count:
    """A number of repositories; with `least` there may be more."""

    n: int
    least: bool = False

    def __add__(self, other: "Count") -> "Count":
        return Count(self.n + other.n, self.least or other.least)


@dataclass(slots=True)
class Counts:
    """The total, and facet → value → count, the commonest first."""

    total: Count = Count(0)
    values: dict[str, dict[str, Count]] = field(default_factory=dict)


def facets(
    viewer: Viewer, *, kind: str, search: str = "", ranking: Ranking | None = None, **filters: Iterable[str]
) -> Counts:
    """What is found, counted. A facet's own filter narrows the other facets and not itself: its other values stay.

    `ranking` is that of this search and these filters, where it is known already.
    """
    filters = {name: list(values) for name, values in filters.items() if values}
    found = _counted(viewer, kind, search, filters, ranking)
    for name, chosen in filters.items():
        others = {key: value for key, value in filters.items() if key != name}
        values = _counted(viewer, kind, search, others).values.get(name, {})
        found.values[name] = values | {value: Count(0) for value in chosen if value not in values}
    for name, values in found.values.items():
        chosen = filters.get(name, ())
        order = sorted(values.items(), key=lambda item: (-item[1].n, item[0]))
        shown = [item for place, item in enumerate(order) if place < SHOWN or item[0] in chosen]
        found.values[name] = {value: count for value, count in shown if count.n > 0 or value in chosen}
    return found


def _counted(
    viewer: Viewer, kind: str, search: str, filters: dict[str, list[str]], best: Ranking | None = None
) -> Counts:
    if search or filters:
        found = repositories(viewer, kind=kind, **filters)
        if search:
            best = best or ranked(found, search)
            rows = [tuple(row[place] for place in RANKED) for row in best.rows[:MOST]]
            return _counts(rows, least=best.more or len(best.rows) > MOST)
        return _sampled(found)
    kept = kept_counts(kind)
    if viewer.user is None:
        return kept
    own = _sampled(repositories(viewer, kind=kind).filter(visibility=Visibility.PRIVATE))
    for name, values in own.values.items():
        there = kept.values.setdefault(name, {})
        for value, count in values.items():
            there[value] = there.get(value, Count(0)) + count
    kept.total += own.total
    return kept


def kept_counts(kind: str) -> Counts:
    """What is kept of the public repositories of a kind: the total, and the commonest values of each facet."""
    rows = FacetCount.objects.commonest(kind, (*FACETS, KIND), SHOWN + 10)
    found = Counts(values={name: {} for name in FACETS})
    for name, value, n in rows:
        if name == KIND:
            found.total = Count(n)
        elif name in FACETS:
            found.values[name][value] = Count(n)
    return found


def _sampled(found: QuerySet[Repository]) -> Counts:
    """Some `MOST` of `found`, counted, whichever are quickest to find."""
    rows = list(found.order_by().values_list("pk", *(FACETS[name] for name in PLAIN))[: MOST + 1])
    return _counts(rows[:MOST], least=len(rows) > MOST)


def _counts(rows: list[tuple], *, least: bool) -> Counts:
    """The rows, (pk, value of each of `PLAIN`), counted with their tags; `least` where they are not all."""
    sums = {name: Counter(row[place] for row in rows) for place, name in enumerate(PLAIN, start=1)}
    tags = RepositoryTag.objects.filter(repository__in=[row[0] for row in rows])
    sums["tag"] = Counter(tags.values_list("name", flat=True))
    values = {
        name: {str(value): Count(n, least) for value, n in sums[name].items() if value not in (None, "")}
        for name in FACETS
    }
    return Counts(Count(len(rows), least), values)


def is_catching_up() -> bool:
    """Whether repositories of an earlier release may not be found and counted yet."""
    return UpkeepTask.objects.filter(name="search", outcome__in=("stopped", "failed")).exists()
