"""Protected refs of a repository or a namespace, and where a ref has been."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from hub import access, queries
from hub.errors import Conflict, Invalid
from hub.models import Namespace, Repository, User
from hub.services import protections
from hub.web.pages import repository as repository_page
from hub.web.paging import page


@require_POST
def of_repository(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Add a rule, or take one away."""
    viewer = access.viewer_of(request)
    _change(request, viewer.user, access.repository(viewer, namespace, name, "admin"))
    return redirect("settings", namespace, name)


@require_POST
def of_namespace(request: HttpRequest, namespace: str) -> HttpResponse:
    """The same for all repositories of a namespace."""
    viewer = access.viewer_of(request)
    _change(request, viewer.user, access.namespace(viewer, namespace, "admin"))
    return redirect("namespace", namespace)


@require_safe
def history(request: HttpRequest, namespace: str, name: str, ref: str) -> HttpResponse:
    """Who moved a branch or a tag, from where to where, when."""
    heading = repository_page.heading(access.viewer_of(request), namespace, name, None, "versions")
    rows, following = page(request, queries.ref_history(heading.repository, ref), ("-id",))
    context = {"page": heading, "name": ref, "moves": rows, "next": following}
    return render(request, "repository/history.html", context)


def _change(request: HttpRequest, actor: User, place: Repository | Namespace) -> None:
    pattern = request.POST.get("pattern", "").strip()
    try:
        if request.POST.get("remove"):
            protections.unprotect(actor=actor, place=place, pattern=pattern)
            messages.success(request, f"{pattern} is not protected by {place} any more.")
        else:
            protections.protect(actor=actor, place=place, pattern=pattern)
            messages.success(request, f"Only admins move {pattern} now.")
    except (Conflict, Invalid) as refusal:
        messages.error(request, refusal.message)
