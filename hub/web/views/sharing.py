"""What others do with a repository: they ask for the files of a gated one, and propose changes to it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hub import access, queries
from hub.models import AccessState, PullRequest, PullState
from hub.services.sharing import access_requests
from hub.services.sharing import pulls as proposals
from hub.web.forms.refusal import Refused, refusal_of
from hub.web.pages import proposal
from hub.web.pages import repository as repository_page


@require_POST
def ask(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Ask for the files."""
    viewer = access.viewer_of(request)
    found = access.repository(viewer, namespace, name)
    asked = access_requests.ask(actor=access.require_user(viewer), repository=found)
    let_in = asked.state == AccessState.ACCEPTED
    said = "You may have the files now." if let_in else f"An admin of {found.namespace.name} decides on it."
    messages.success(request, said)
    return redirect("repository", namespace, name)


@require_POST
def decide(request: HttpRequest, namespace: str, name: str, username: str) -> HttpResponse:
    """Let a user in, or not; for admins."""
    viewer = access.viewer_of(request)
    found = access.repository(viewer, namespace, name, "admin")
    asked = queries.access_request(found, user=username)
    state = request.POST.get("state", "")
    access_requests.decide(actor=viewer.user, repository=found, request=asked, state=state)
    messages.success(request, f"{asked.user.username}: {state}.")
    return redirect("settings", namespace, name)


@require_safe
def pulls(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """All proposals, the open ones first."""
    page = repository_page.heading(access.viewer_of(request), namespace, name, None, "pulls")
    return render(request, "repository/pulls.html", {"page": page, **proposal.lists(page.repository)})


@require_http_methods(["GET", "POST"])
def pull(request: HttpRequest, namespace: str, name: str, number: int) -> HttpResponse:
    """What is proposed, and what may be done with it."""
    viewer, refused = access.viewer_of(request), Refused()
    page = repository_page.heading(viewer, namespace, name, None, "pulls")
    found = access.pull(viewer, page.repository, number)
    if request.method == "POST":
        act = request.POST.get("act", "")
        found = access.pull(viewer, page.repository, number, "merge" if act == "merge" else "change")
        with refusal_of(refused):
            messages.success(request, _done(act, viewer, found))
            return redirect("pull", namespace, name, number)
    context = {"page": page, "refused": refused, **proposal.one(viewer, found)}
    return render(request, "repository/pull.html", context, status=refused.status)


def _done(act: str, viewer: access.Viewer, pull: PullRequest) -> str:
    """Do it, and say so."""
    if act == "merge":
        may = access.may(viewer, pull.repository, "admin")
        version = proposals.merge(actor=viewer.user, pull=pull, may_protected=may).version
        return f"Merged into {pull.target}{f': {version.label}' if version else ''}."
    state = PullState.OPEN if act == "reopen" else PullState.CLOSED
    proposals.set_state(actor=viewer.user, pull=pull, state=state)
    return "Open again." if state == PullState.OPEN else "Closed."
