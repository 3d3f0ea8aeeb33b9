"""Accounts: the list, and one account with what an administrator does to it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from hub import access
from hub.errors import Invalid
from hub.queries import administration as queries
from hub.services import administration
from hub.web.forms.refusal import Refused, refusal_of
from hub.web.paging import page

DONE = {
    "suspend": "{} is suspended: tokens, sessions and unfinished jobs have ended.",
    "reactivate": "{} can sign in again.",
    "grant": "{} administers the site now.",
    "revoke": "{} is no administrator any more.",
}
CHANGES = {
    "suspend": {"active": False},
    "reactivate": {"active": True},
    "grant": {"administrator": True},
    "revoke": {"administrator": False},
}


@require_safe
def users(request: HttpRequest) -> HttpResponse:
    """All accounts, narrowed by words and state."""
    search, state = request.GET.get("search", "")[:200], request.GET.get("state", "")
    found = queries.users(access.viewer_of(request), search=search, state=state)
    rows, following = page(request, found, ("id",))
    context = {"users": rows, "next": following, "search": search, "state": state}
    return render(request, "admin/users.html", context | {"states": queries.USER_STATES, "section": "users"})


@require_http_methods(["GET", "POST"])
def user(request: HttpRequest, username: str) -> HttpResponse:
    """One account: suspend, reactivate, make or unmake an administrator, a link for a new password (shown once)."""
    viewer = access.viewer_of(request)
    found, refused, link = queries.any_user(viewer, username), Refused(), ""
    act, reason = request.POST.get("act", ""), request.POST.get("reason", "")
    if request.method == "POST":
        asked = {"actor": viewer.user, "user": found, "reason": reason}
        with refusal_of(refused):
            if act == "reset":
                link = administration.reset_link(**asked)
            elif act in CHANGES:
                administration.change_account(**asked, **CHANGES[act])
                messages.success(request, DONE[act].format(found.username))
                return redirect("admin_user", found.username)
            else:
                raise Invalid(f"{act[:40]!r} is nothing to do to an account.", field="act")
    context = {"one": found, "refused": refused, "link": link, "reason": reason, "section": "users"}
    response = render(request, "admin/user.html", context, status=refused.status)
    response["Cache-Control"] = "no-store"
    return response
