"""Namespaces: a user's or organisation's repositories, its members, and what was deleted in them."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hub import access, queries
from hub.errors import HubError
from hub.models import Role
from hub.services import accounts, repositories
from hub.services.upkeep.purge import purge_repository
from hub.web import basket
from hub.web.forms.refusal import Refused, refusal_of
from hub.web.pages.first_steps import first_steps
from hub.web.paging import page


@require_http_methods(["GET", "POST"])
def organisations(request: HttpRequest) -> HttpResponse:
    """My namespaces with my role in each; making a new organisation."""
    viewer = access.viewer_of(request)
    user = access.require_user(viewer)
    refused, form = Refused(), {name: request.POST.get(name, "").strip() for name in ("name", "display_name")}
    if request.method == "POST":
        with refusal_of(refused):
            made = accounts.create_organisation(actor=user, **form)
            return redirect("namespace", made.name)
    context = {"memberships": queries.memberships(viewer), "form": form, "refused": refused}
    return render(request, "accounts/organisations.html", context, status=refused.status)


@require_safe
def namespace(request: HttpRequest, namespace: str) -> HttpResponse:
    """The visible repositories of a namespace, and to its members who else is in it."""
    viewer = access.viewer_of(request)
    found = access.namespace(viewer, namespace)
    rows, following = page(request, queries.repositories(viewer, owner=found.name), ("-updated_at", "-id"))
    mine = queries.memberships(viewer).filter(namespace=found).first() if viewer.user else None
    context = {
        "namespace": found,
        "repositories": rows,
        "next": following,
        "mine": mine,
        "members": found.memberships.select_related("user").order_by("user__username") if mine else [],
        "usage": queries.usage(found) if mine else [],
        "own_usage": queries.usage(viewer.user) if viewer.user and found.owner_id == viewer.user.pk else [],
        "may_admin": bool(mine and mine.role == Role.ADMIN),
        "roles": Role.values,
        "rules": queries.protections(found) if mine else [],
        "ticked": basket.repositories(request),
    }
    if mine and not rows:
        context["steps"] = first_steps(viewer, request.build_absolute_uri("/").rstrip("/"))
    return render(request, "accounts/namespace.html", context)


@require_POST
def change_member(request: HttpRequest, namespace: str) -> HttpResponse:
    """Give a role, or remove a member."""
    viewer = access.viewer_of(request)
    found = access.namespace(viewer, namespace, "admin")
    try:
        user = queries.user(request.POST.get("username", "").strip())
        if request.POST.get("remove"):
            accounts.remove_member(actor=viewer.user, namespace=found, user=user)
            messages.success(request, f"{user.username} is no longer a member.")
        else:
            accounts.set_role(actor=viewer.user, namespace=found, user=user, role=request.POST.get("role", ""))
            messages.success(request, f"{user.username} is {request.POST['role']} now.")
    except HubError as error:
        messages.error(request, error.message)
    return redirect("namespace", found.name)


@require_safe
def trash(request: HttpRequest) -> HttpResponse:
    """What was deleted in the namespaces I am admin of."""
    rows, following = page(request, queries.trash(access.viewer_of(request)), ("-deleted_at", "-id"))
    return render(
        request, "accounts/trash.html", {"repositories": rows, "next": following, "days": settings.KEEP_TRASH_DAYS}
    )


@require_POST
def restore(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Out of the trash as it was."""
    viewer = access.viewer_of(request)
    found = access.repository(viewer, namespace, name, "admin", deleted=True)
    found = repositories.restore_repository(actor=viewer.user, repository=found)
    messages.success(request, f"{found.path} is back.")
    return redirect("repository", found.place, found.name)


@require_POST
def purge(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Out of the trash for good."""
    viewer = access.viewer_of(request)
    found = access.repository(viewer, namespace, name, "admin", deleted=True, exact=True)
    purge_repository(actor=viewer.user, repository=found)
    messages.success(request, f"{found.path} is deleted for good.")
    return redirect("trash")
