"""Base models: the tree, and one base with what belongs to it."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub import access, queries
from hub.models import Kind
from hub.web import basket
from hub.web.pages import base_tree
from hub.web.paging import page


@require_safe
def bases(request: HttpRequest) -> HttpResponse:
    """All bases as the tree they form."""
    rows = base_tree.flat(queries.bases(access.viewer_of(request)))
    return render(request, "bases/list.html", {"here": "bases", "rows": rows})


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
        "family": base_tree.family(rows, found.pk),
        "config": base_tree.described(found.config),
        "modules": len(found.shapes or {}),
        "repositories": repositories,
        "next": following,
        "ticked": basket.repositories(request),
    }
    return render(request, "bases/base.html", context)
