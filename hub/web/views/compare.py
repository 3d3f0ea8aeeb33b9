"""Comparing versions on the datasets they were measured on."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub import access
from hub.web import basket
from hub.web.pages import compare_table


@require_safe
def compare(request: HttpRequest) -> HttpResponse:
    """A matrix tasks × versions, of the basket where the address names none; `format=csv` gives its figures."""
    viewer, asked = access.viewer_of(request), request.GET
    names = asked.getlist("version") or basket.names(request)
    built = compare_table.build(
        viewer,
        names,
        dataset=asked.get("dataset", ""),
        metric=asked.get("metric", ""),
        against=asked.get("against", ""),
    )
    if asked.get("format") == "csv":
        answer = HttpResponse(compare_table.as_csv(built), content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="compare.csv"'
        return answer
    find = asked.get("find", "")
    offered = compare_table.offered(viewer, find, built["versions"])
    return render(request, "browse/compare.html", {"here": "compare", "find": find, "offered": offered, **built})
