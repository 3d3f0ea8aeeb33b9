"""Storage and bases: who holds how much, what is loose, who uses what."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub import access
from hub.queries import administration as queries
from hub.web.paging import page


@require_safe
def storage(request: HttpRequest) -> HttpResponse:
    """All bytes, the disks, and the namespaces by name with theirs."""
    viewer = access.viewer_of(request)
    rows, following = page(request, queries.namespaces(viewer), ("name",))
    context = {"storage": queries.storage(viewer), "namespaces": rows, "next": following, "section": "storage"}
    return render(request, "admin/storage.html", context)


@require_safe
def bases(request: HttpRequest) -> HttpResponse:
    """All bases with who registered them and how much uses them."""
    rows, following = page(request, queries.all_bases(access.viewer_of(request)), ("name", "revision", "id"))
    return render(request, "admin/bases.html", {"bases": rows, "next": following, "section": "bases"})
