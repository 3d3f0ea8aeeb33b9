"""The browse page's state is its address: what is searched, filtered and sorted, and the links that change it."""

from dataclasses import dataclass, replace
from urllib.parse import urlencode

from django.http import QueryDict

from hub import queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import Kind
from hub.queries.finding.counting import Counts
from hub.queries.finding.ranking import Ranking

LABELS = {
    "base": "Base model",
    "peft_type": "Type",
    "rank": "Rank",
    "origin": "Origin",
    "license": "Licence",
    "tag": "Tag",
    "owner": "Owner",
}
SORTS = {
    queries.RELEVANCE: "Best match",
    "updated": "Recently updated",
    "created": "Newest",
    "downloads": "Most downloaded",
    "name": "Name",
}
KINDS = {Kind.ADAPTER.value: "Adapters", Kind.GENERATOR.value: "Generators", Kind.DATASET.value: "Datasets"}
SHOWN = 8
MOST = 20
"""Values of one facet that an address may have."""


@dataclass(frozen=True)
class Browsing:
    """What the address asks for; a kind or sort that doesn't exist is refused."""

    query: QueryDict
    kind: str
    search: str
    sort: str
    filters: dict[str, list[str]]
    ranking: Ranking | None = None
    corrected: str = ""
    """What is searched instead, where nothing has the words as they were typed."""

    @classmethod
    def of(cls, query: QueryDict) -> "Browsing":
        """Read the address."""
        kind = query.get("kind", Kind.ADAPTER.value)
        if kind not in Kind.values:
            raise Invalid(
                f"kind={kind!r} is not a kind of repository; choose one of {', '.join(Kind.values)}.", field="kind"
            )
        filters = {name: list(dict.fromkeys(filter(None, query.getlist(name))))[:MOST] for name in queries.FACETS}
        filters = {name: values for name, values in filters.items() if values}
        search = query.get("search", "").strip()
        return cls(query, kind, search, queries.order_of(query.get("sort", ""), search), filters)

    @property
    def searched(self) -> str:
        """The words that are looked for."""
        return self.corrected or self.search

    def found(self, viewer: Viewer):
        """The repositories asked for, as a queryset; without the words where the best come first."""
        asked = {"kind": self.kind, **self.filters}
        if self.sort == queries.RELEVANCE:
            return queries.repositories(viewer, **asked)
        return queries.repositories(viewer, search=self.searched, sort=self.sort, **asked)

    def meant(self, viewer: Viewer) -> "Browsing":
        """The same for the words as they were probably meant, where nothing at all has those that were typed."""
        meant = queries.corrected(self.search)
        there = meant and queries.repositories(viewer, kind=self.kind, search=meant, **self.filters).exists()
        return replace(self, corrected=meant) if there else self

    def counts(self, viewer: Viewer) -> Counts:
        """What is found, counted."""
        return queries.facets(viewer, kind=self.kind, search=self.searched, ranking=self.ranking, **self.filters)

    @property
    def order(self) -> tuple[str, str]:
        """The columns keyset paging follows."""
        return queries.SORTS[self.sort], "-id"

    @property
    def is_ranked(self) -> bool:
        """Whether the best come first, whatever their columns."""
        return self.sort == queries.RELEVANCE

    def sorts(self) -> dict[str, str]:
        """The orders to choose from."""
        return {name: label for name, label in SORTS.items() if self.search or name != queries.RELEVANCE}

    def chosen(self) -> list[tuple[str, str]]:
        """The facets' values that narrow the list, each by the name of its facet."""
        return [(name, value) for name, values in self.filters.items() for value in values]

    def link(self, **changes: str | list[str] | None) -> str:
        """This address with some values changed, or taken out by None; always from the first page."""
        query = self.query.copy()
        query.pop("cursor", None)
        for name, value in changes.items():
            query.setlist(name, list(filter(None, value if isinstance(value, list) else [value])))
        return f"?{query.urlencode()}"

    def facets(self, counts: Counts) -> list[dict]:
        """The side bar: each facet with its values, their counts and the link that adds or takes out each."""
        groups = []
        for name, label in LABELS.items():
            values = [
                {
                    "value": value,
                    "n": count.n,
                    "least": count.least,
                    "on": value in self.filters.get(name, ()),
                    "link": self._switch(name, value),
                }
                for value, count in counts.values[name].items()
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
            {"label": LABELS[name], "value": value, "link": self._switch(name, value)} for name, value in self.chosen()
        ]
        if self.search:
            chips.insert(0, {"label": "Search", "value": self.search, "link": self.link(search=None)})
        return chips

    def kinds(self) -> list[dict]:
        """The tabs; search words stay, facets of the other kind don't."""
        words = {"search": self.search} if self.search else {}
        return [
            {"label": label, "link": f"?{urlencode({'kind': kind} | words)}", "on": kind == self.kind}
            for kind, label in KINDS.items()
        ]

    def _switch(self, name: str, value: str) -> str:
        chosen = self.filters.get(name, [])
        return self.link(**{name: [one for one in chosen if one != value] + [value] * (value not in chosen)})
