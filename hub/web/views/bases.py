"""Base models: the tree, and one base with what belongs to it."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hub import access, queries
from hub.errors import Conflict, Invalid
from hub.models import Kind
from hub.services import base_owners
from hub.services import bases as services
from hub.web import basket
from hub.web.forms import register_base
from hub.web.pages import base_tree
from hub.web.pages.first_steps import first_steps
from hub.web.paging import page


@require_safe
def bases(request: HttpRequest) -> HttpResponse:
    """All bases as the tree they form."""
    viewer = access.viewer_of(request)
    context = {"here": "bases", "rows": base_tree.flat(queries.bases(viewer))}
    if not context["rows"]:
        context["steps"] = first_steps(viewer, request.build_absolute_uri("/").rstrip("/"))
    return render(request, "bases/list.html", context)


@require_safe
def base(request: HttpRequest, name: str) -> HttpResponse:
    """One base: facts, place in the tree, its adapters."""
    viewer = access.viewer_of(request)
    found = access.base(name)
    rows = base_tree.flat(queries.bases(viewer))
    adapters = queries.repositories(viewer, kind=Kind.ADAPTER, base=found.name)
    repositories, following = page(request, adapters, ("-updated_at", "-id"))
    context = {
        "here": "bases",
        "base": found,
        "may_change": access.may_change_base(viewer, found),
        "family": base_tree.family(rows, found.pk),
        "config": base_tree.described(found.config),
        "served": queries.base_manifest(found),
        "site": request.build_absolute_uri("/").rstrip("/"),
        "modules": len(found.shapes or {}),
        "workers": access.is_anyone_there(),
        "repositories": repositories,
        "next": following,
        "ticked": basket.repositories(request),
    }
    return render(request, "bases/base.html", context)


@require_http_methods(["GET", "POST"])
def new_base(request: HttpRequest) -> HttpResponse:
    """Register a base: by its config.json, or by choosing what a worker holds."""
    sent = request.method == "POST"
    access.require_user(access.viewer_of(request))
    form = register_base.read(request, sent=sent)
    if sent and not form.refused and (made := form.register()):
        messages.success(request, f"{made} is registered.")
        return redirect("base", str(made))
    return form.refused.on(render(request, "bases/new.html", form.context()))


@require_POST
def change_base(request: HttpRequest, name: str) -> HttpResponse:
    """Give a base to another account, give it another name, or take one off."""
    viewer = access.viewer_of(request)
    actor, found = access.require_user(viewer), access.base(name)
    given = {key: request.POST.get(key, "").strip() for key in ("owner", "alias", "drop")}
    changes = {"names": list(filter(None, [given["alias"]])), "drop": list(filter(None, [given["drop"]]))}
    try:
        services.change_base(actor=actor, base=found, owner=given["owner"] or None, **changes)
        messages.success(request, f"{found} is changed.")
    except (Conflict, Invalid) as error:
        messages.error(request, error.message)
    return redirect("base", str(found))


@require_POST
def delete_base(request: HttpRequest, name: str) -> HttpResponse:
    """Delete a base that nothing uses; otherwise its page says what does."""
    viewer = access.viewer_of(request)
    actor, found = access.require_user(viewer), access.base(name)
    label = str(found)
    try:
        base_owners.delete_base(actor=actor, base=found)
    except Conflict as error:
        messages.error(request, error.message)
        return redirect("base", label)
    messages.success(request, f"{label} is deleted.")
    return redirect("bases")
