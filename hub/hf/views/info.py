"""What is known of a repository, and lists of them."""

from rest_framework.response import Response

from hub import queries
from hub.errors import HubError, NotFound
from hub.hf.paging import limit_of, with_next
from hub.hf.places import DATASETS, place, split
from hub.hf.shapes.repositories import ALONE, EXPANDABLE, FULL, LISTED, Sight
from hub.hf.view import View
from hub.http.keyset import after, read_cursor, write_cursor
from hub.models import Gate, Repository

ORDERS = {
    "lastModified": "-updated_at",
    "last_modified": "-updated_at",
    "createdAt": "-created_at",
    "created_at": "-created_at",
    "downloads": "-downloads",
    "likes": "-created_at",
    "trendingScore": "-downloads",
    "trending_score": "-downloads",
}
"""Nothing is liked here: by likes is by age."""
PAGE, MOST, MOST_FILTERS = 100, 1000, 20
SCANNED = {"scansDone": True, "filesWithIssues": []}


class WrongExpand(HubError):
    """A property that there isn't."""

    status, code = 400, "expand"


def expanded(view: View, type: str) -> list[str]:
    """The properties that the query names; [] where it names none."""
    wanted = [key for value in view.queries("expand") for key in value.split(",")]
    for key in wanted:
        if key not in EXPANDABLE[type]:
            known = "|".join(f'"{name}"' for name in EXPANDABLE[type])
            raise WrongExpand(f'"expand" must be one of [{known}]: expected one of {known}, and got {key[:60]!r}.')
    return wanted


class Info(View):
    """`GET /api/models/ns/name[/revision/REV]`."""

    scopes = {"GET": "download"}

    def get(self, request, type, namespace, name, rest=None):
        found = place(self.viewer, type, namespace, name, "download")
        wanted = expanded(self, type)
        revision = self.revision(found, rest)
        row = queries.with_words(found.repository)
        named = {"at": {row.pk: revision}, "names": {row.pk: found.id}}
        sight = Sight(self.viewer, [row], **named, blobs=self.says("blobs"))
        said = sight.show(row, wanted or ALONE[type])
        if self.says("securityStatus"):
            said["securityRepoStatus"] = SCANNED
        return Response(said)

    def revision(self, found, rest):
        """None for a repository without commits, where no revision is named."""
        if rest is not None:
            revision, path = split(found, self.request, rest)
            if path:
                raise NotFound(f"Invalid rev id: {rest}", code="revision_not_found")
            return revision
        try:
            return found.revision()
        except NotFound:
            if found.pinned:
                raise
            return None


class List(View):
    """`GET /api/models` and `/api/datasets`, by what the viewer sees, in keyset pages."""

    scopes = {"GET": "read"}

    def get(self, request, type):
        wanted = expanded(self, type) or self.properties(type)
        order = (ORDERS.get(self.query("sort"), "-updated_at"), "-id")
        size, cursor = limit_of(self, PAGE, MOST), self.query("cursor")
        rows = self.rows(type).order_by(*order)
        if cursor:
            rows = rows.filter(after(order, read_cursor(cursor, order, Repository)))
        found = list(queries.all_words(rows)[: size + 1])
        sight = Sight(self.viewer, found[:size])
        shown = [sight.show(row, wanted) for row in found[:size]]
        return with_next(self, shown, write_cursor(found[size - 1], order) if len(found) > size else None)

    def properties(self, type: str) -> list[str]:
        """What is shown of each where nothing is named."""
        more = [*(FULL if self.says("full") else []), *(["cardData"] if self.says("cardData") else [])]
        more += ["config"] if self.says("config") and type != DATASETS else []
        return [*LISTED[type], *more]

    def rows(self, type: str):
        """The repositories that the query narrows to."""
        found = queries.of_type(self.viewer, datasets=type == DATASETS, search=self.query("search")[:200])
        if author := self.query("author"):
            found = found.filter(namespace__name__iexact=author)
        tags = [tag for value in self.queries("filter") for tag in value.split(",")]
        tags += [f"pipeline_tag:{value}" for value in self.queries("pipeline_tag")]
        for tag in [tag for tag in tags if tag][:MOST_FILTERS]:
            found = queries.tagged(found, tag[:300])
        if gated := self.query("gated").lower():
            found = found.exclude(gate=Gate.OPEN) if gated in ("1", "true") else found.filter(gate=Gate.OPEN)
        return found
