"""Pull requests, which the client knows as discussions with `isPullRequest`; there are no discussions of another kind.

What was written when one was opened is its only comment; further ones are not kept, and a call that brings one says so.
"""

from rest_framework.response import Response

from hub import access, queries
from hub.errors import HubError, Invalid
from hub.hf.places import Place, place, proposing
from hub.hf.shapes import discussions as shapes
from hub.hf.view import View, warned
from hub.models import PullRequest, PullState
from hub.services.content.publishing import MAIN
from hub.services.sharing import differences, pulls

PAGE = 50
NO_COMMENTS = "Comments are not kept in this hub: say it in the title, or to each other."
NO_DISCUSSIONS = "This hub has pull requests and no other discussions. Open one with pull_request=True."


class NotKept(HubError):
    """What this hub doesn't have, in a word that the client prints."""

    status, code = 403, "discussion.not_kept"


class Discussions(View):
    """`GET …/discussions?p&type&status&author`, `POST …/discussions` {"title", "description", "pullRequest"}."""

    scopes = {"GET": "download"}

    def get(self, request, type, namespace, name):
        here = place(self.viewer, type, namespace, name, "download")
        found = queries.pulls(here.repository, state=self.query("status") or "all", author=self.query("author"))
        if self.query("type") == "discussion":
            found = found.none()
        start = self.page() * PAGE
        shown = [shapes.short(row, here.id, here.type) for row in found[start : start + PAGE]]
        closed = queries.pulls(here.repository, state=PullState.CLOSED).count()
        return Response({"discussions": shown, "count": found.count(), "start": start, "numClosedDiscussions": closed})

    def page(self) -> int:
        """Which page, from 0."""
        said = self.query("p") or "0"
        if not said.isdecimal() or len(said) > 6:
            raise Invalid(f"p={said[:50]!r} is not a page; pages are counted from 0.", field="p")
        return int(said)

    def post(self, request, type, namespace, name):
        body, here = self.body(), proposing(self.viewer, type, namespace, name)
        if not body.get("pullRequest"):
            raise NotKept(NO_DISCUSSIONS)
        told = {key: str(body.get(key) or "") for key in ("title", "description")}
        pull = pulls.open_pull(actor=self.actor(), repository=here.repository, target=MAIN, **told)
        return Response(whole(self.viewer, here, pull))


class OnePull(View):
    """Of one pull request."""

    def found(self, where: tuple[str, str, str], number: int, need: str) -> tuple[Place, PullRequest]:
        """The place and the pull request, where the viewer may do `need` with it."""
        here = place(self.viewer, *where, "download" if need == "read" else "read")
        return here, access.pull(self.viewer, here.repository, number, need)

    def about_comments(self) -> dict[str, str]:
        """The header that tells who brings a comment along that it is not kept."""
        said = [NO_COMMENTS] if self.body().get("comment") else []
        return warned("comments", said)


class Discussion(OnePull):
    """`GET …/discussions/{n}?diff=1`."""

    scopes = {"GET": "download"}

    def get(self, request, type, namespace, name, number):
        here, pull = self.found((type, namespace, name), number, "read")
        return Response(whole(self.viewer, here, pull, diff=self.says("diff")))


class Title(OnePull):
    """`POST …/discussions/{n}/title` {"title"}."""

    def post(self, request, type, namespace, name, number):
        _, pull = self.found((type, namespace, name), number, "change")
        pulls.retitle(actor=self.actor(), pull=pull, title=str(self.body().get("title") or ""))
        return Response({"newTitle": shapes.event(queries.pull_events(pull)[-1])})


class Status(OnePull):
    """`POST …/discussions/{n}/status` {"status": "open" or "closed"}."""

    def post(self, request, type, namespace, name, number):
        _, pull = self.found((type, namespace, name), number, "change")
        state = str(self.body().get("status") or "")
        done = pulls.set_state(actor=self.actor(), pull=pull, state=state)
        said = shapes.status_now(done, queries.pull_events(pull))
        return Response({"newStatus": said}, headers=self.about_comments())


class Merge(OnePull):
    """`POST …/discussions/{n}/merge`: for writers; for a protected branch, admins."""

    def post(self, request, type, namespace, name, number):
        here, pull = self.found((type, namespace, name), number, "merge")
        may = access.may(self.viewer, here.repository, "admin")
        result = pulls.merge(actor=self.actor(), pull=pull, may_protected=may)
        version = result.version and result.version.label
        return Response({"commitOid": result.revision.oid, "version": version}, headers=self.about_comments())


class Comment(OnePull):
    """`POST …/discussions/{n}/comment…`: refused in words, as comments are not kept."""

    def post(self, request, type, namespace, name, number, rest=""):
        self.found((type, namespace, name), number, "read")
        raise NotKept(NO_COMMENTS)


def whole(viewer: access.Viewer, here: Place, pull: PullRequest, *, diff: bool = False) -> dict:
    """A pull request with its events, what clashes and, where it is asked for, the diff."""
    shown = shapes.short(pull, here.id, here.type) | shapes.details(pull, queries.pull_events(pull))
    shown["filesWithConflicts"] = differences.conflicts(pull)
    if diff:
        _, found = differences.of_pull(pull)
        shown["diff"] = differences.diff(found, only_card=not access.lets_in(viewer, here.repository))
    return shown
