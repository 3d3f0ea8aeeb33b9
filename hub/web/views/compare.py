"""Comparing versions on the datasets they were measured on."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub import access
from hub.web import basket
from hub.web.pages import compare_table


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """A table versions × datasets; without versions in the address, those of the basket."""
    viewer = access.viewer_of(request)
    names = request.GET.getlist("version") or basket.names(request)
    context = {"here": "compare", **compare_table.build(viewer, names, request.GET.get("dataset", ""))}
    return render(request, "browse/compare.html", context)
