"""What others do with a repository: they ask for the files of a gated one, and propose changes to it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from hub import access, queries
from hub.models import AccessState
from hub.services.sharing import access_requests


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
