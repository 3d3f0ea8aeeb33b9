"""The browse page's state is its address: what is searched, filtered and sorted, and the links that change it."""

from dataclasses import dataclass

from django.http import QueryDict

from hub import queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import Kind

LABELS = {
    "base": "Base model",
    "peft_type": "Type",
    "rank": "Rank",
    "origin": "Origin",
    "license": "Licence",
    "tag": "Tag",
    "owner": "Owner",
}
SORTS = {"updated": "Recently updated", "created": "Newest", "downloads": "Most downloaded", "name": "Name"}
KINDS = {Kind.ADAPTER.value: "Adapters", Kind.GENERATOR.value: "Generators", Kind.DATASET.value: "Datasets"}
SHOWN = 8


@dataclass(frozen=True)
class Browsing:
    """What the address asks for; a kind or sort that doesn't exist is refused."""

    query: QueryDict
    kind: str
    search: str
    sort: str
    filters: dict[str, str]

    @classmethod
    def of(cls, query: QueryDict) -> "Browsing":
        """Read the address."""
        kind = query.get("kind", Kind.ADAPTER.value)
        if kind not in Kind.values:
            raise Invalid(
                f"kind={kind!r} is not a kind of repository; choose one of {', '.join(Kind.values)}.", field="kind"
            )
        filters = {name: query[name] for name in queries.FACETS if query.get(name)}
        return cls(query, kind, query.get("search", "").strip(), query.get("sort", "updated"), filters)

    def found(self, viewer: Viewer):
        """The repositories asked for, as a queryset."""
        return queries.repositories(viewer, kind=self.kind, search=self.search, sort=self.sort, **self.filters)

    @property
    def order(self) -> tuple[str, str]:
        """The columns keyset paging follows."""
        return queries.SORTS[self.sort], "-id"

    def link(self, **changes: str | None) -> str:
        """This address with some values changed, or taken out by None; always from the first page."""
        query = self.query.copy()
        query.pop("cursor", None)
        for name, value in changes.items():
            query.pop(name, None)
            if value:
                query[name] = value
        return f"?{query.urlencode()}"

    def facets(self, counts: dict[str, list[tuple[str, int]]]) -> list[dict]:
        """The side bar: each facet with its values, their counts and the link that sets or unsets each."""
        groups = []
        for name, label in LABELS.items():
            values = [
                {"value": value, "n": n, "on": value == self.filters.get(name), "link": self._switch(name, value)}
                for value, n in counts[name]
            ]
            if name == "rank":
                values.sort(key=lambda row: int(row["value"]))
            if values:
                groups.append({"name": name, "label": label, "values": values[:SHOWN], "more": values[SHOWN:]})
        return groups

    @property
    def is_as_it_opens(self) -> bool:
        """The first of the kinds, and nothing searched or filtered."""
        return self.kind == next(iter(KINDS)) and not self.chips()

    def chips(self) -> list[dict]:
        """What narrows the list now, each with the link that removes it."""
        chips = [
            {"label": LABELS[name], "value": value, "link": self.link(**{name: None})}
            for name, value in self.filters.items()
        ]
        if self.search:
            chips.insert(0, {"label": "Search", "value": self.search, "link": self.link(search=None)})
        return chips

    def kinds(self) -> list[dict]:
        """The tabs; search words stay, facets of the other kind don't."""
        words = f"&search={self.query.get('search')}" if self.search else ""
        return [
            {"label": label, "link": f"?kind={kind}{words}", "on": kind == self.kind} for kind, label in KINDS.items()
        ]

    def _switch(self, name: str, value: str) -> str:
        return self.link(**{name: None if value == self.filters.get(name) else value})
