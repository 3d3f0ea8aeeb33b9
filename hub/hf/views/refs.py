"""Branches, tags and commits."""

from django.http import HttpResponse
from rest_framework.response import Response

from hub import access, queries
from hub.errors import Invalid, NotFound
from hub.hf.paging import limit_of, with_next
from hub.hf.places import Place, place, split
from hub.hf.shapes import refs as shapes_of_refs
from hub.hf.view import View
from hub.models import Revision
from hub.services import refs
from hub.services.content.manifest import manifest_of
from hub.services.content.pointers import git_files

PAGE, MOST = 50, 1000


def revision_of(view: View, found: Place, rest: str) -> Revision:
    """The revision that all of `rest` names. Errors: NotFound `revision_not_found`."""
    revision, path = split(found, view.request, rest)
    if path:
        raise NotFound(f"Invalid rev id: {rest}", code="revision_not_found")
    return revision


class Refs(View):
    """`GET …/refs[?include_prs=1]`: versions are tags as well."""

    scopes = {"GET": "download"}

    def get(self, request, type, namespace, name):
        found = place(self.viewer, type, namespace, name, "download").repository
        said = shapes_of_refs.refs(queries.refs(found), queries.versions(found))
        if self.says("include_prs") or self.says("include_pull_requests"):
            rows = queries.proposed(found)
            said["pullRequests"] = [shapes_of_refs.ref(row.name, row.name, row.revision.oid) for row in rows]
        return Response(said)


class Commits(View):
    """`GET …/commits/REV`: newest first, by the parents of REV."""

    scopes = {"GET": "download"}

    def get(self, request, type, namespace, name, rest):
        found = place(self.viewer, type, namespace, name, "download")
        line = queries.chain(revision_of(self, found, rest))
        begin, size = self.begin(line), limit_of(self, PAGE, MOST)
        formatted = "formatted" in self.queries("expand")
        rows = queries.revisions(line[begin : begin + size])
        shown = [shapes_of_refs.commit(row, formatted=formatted) for row in rows]
        return with_next(self, shown, str(rows[-1].pk) if len(line) > begin + size else None)

    def begin(self, line: list[int]) -> int:
        """Where the page begins: after the commit that the page before ended with, however the branch moved since."""
        cursor = self.query("cursor")
        try:
            return line.index(int(cursor)) + 1 if cursor else 0
        except ValueError:
            raise Invalid("cursor: take it from the Link of the page before.", field="cursor") from None


class Writing(View):
    """What all that change refs share."""

    def asked(self, type: str, namespace: str, name: str) -> tuple[Place, dict]:
        """The place, and who asks: with `may_protected` they are admins."""
        found = place(self.viewer, type, namespace, name, "write")
        may_protected = access.may(self.viewer, found.repository, "admin")
        return found, {"actor": self.actor(), "repository": found.repository, "may_protected": may_protected}


class Tag(Writing):
    """`POST …/tag/REV` makes a tag at REV, `DELETE …/tag/NAME` removes one."""

    def post(self, request, type, namespace, name, rest):
        found, asked = self.asked(type, namespace, name)
        message = self.text("message", "-") if self.body().get("message") else ""
        refs.create_tag(**asked, name=self.text("tag"), revision=revision_of(self, found, rest), message=message)
        return Response({})

    def delete(self, request, type, namespace, name, rest):
        _, asked = self.asked(type, namespace, name)
        refs.delete_tag(**asked, name=rest)
        return Response({})


class Branch(Writing):
    """`POST …/branch/NAME` makes a branch at `startingPoint`, main where it is left out; `DELETE` removes one."""

    def post(self, request, type, namespace, name, rest):
        found, asked = self.asked(type, namespace, name)
        start = self.text("startingPoint") if self.body().get("startingPoint") else None
        refs.create_branch(**asked, name=rest, revision=found.revision(start))
        return Response({})

    def delete(self, request, type, namespace, name, rest):
        _, asked = self.asked(type, namespace, name)
        refs.delete_branch(**asked, name=rest)
        return Response({})


class Compare(View):
    """`GET …/compare/A..B`: the files that differ, one a line as `git diff --raw` gives them, as plain text."""

    scopes = {"GET": "download"}

    def get(self, request, type, namespace, name, rest):
        found = place(self.viewer, type, namespace, name, "download")
        before, dots, after = rest.replace("...", "..").partition("..")
        if not dots or not before or not after:
            raise Invalid(f"Compare two revisions, as main..v2, not {rest[:80]!r}.")
        old, new = (git_files(manifest_of(found.revision(side))) for side in (before, after))
        return HttpResponse(shapes_of_refs.difference(old, new), content_type="text/plain; charset=utf-8")
