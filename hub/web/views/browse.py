"""Browsing: one list, its facets, its address; and the basket that is filled from it."""

from dataclasses import replace

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from hub import access, queries
from hub.names import split_path
from hub.web import basket
from hub.web.pages.browsing import Browsing
from hub.web.pages.first_steps import first_steps
from hub.web.paging import page, ranked_page
from hub.web.way_back import lead_back


@require_safe
def browse(request: HttpRequest) -> HttpResponse:
    """The list of repositories with its facets."""
    viewer, browsing = access.viewer_of(request), Browsing.of(request.GET)
    rows, following, browsing = listed(request, viewer, browsing)
    counts = browsing.counts(viewer)
    context = {
        "here": "browse",
        "browsing": browsing,
        "repositories": rows,
        "next": following,
        "facets": browsing.facets(counts),
        "total": counts.total,
        "incomplete": queries.is_catching_up(),
        "ticked": basket.repositories(request),
    }
    if not rows and browsing.is_as_it_opens:
        context["steps"] = first_steps(viewer, request.build_absolute_uri("/").rstrip("/"))
    return render(request, "browse/page.html", context)


def listed(request: HttpRequest, viewer: access.Viewer, browsing: Browsing) -> tuple[list, str, Browsing]:
    """(rows of this page, the query of the next, what was browsed): a search that finds nothing may be corrected."""
    found = browsing.found(viewer)
    if not browsing.is_ranked:
        return *page(request, found, browsing.order), browsing
    ranking = queries.ranked(found, browsing.search)
    if not ranking.ids:
        browsing = browsing.meant(viewer)
        ranking = queries.ranked(found, browsing.searched) if browsing.corrected else ranking
    rows, following = ranked_page(request, found, ranking.ids)
    return rows, following, replace(browsing, ranking=ranking)


@require_POST
def change_basket(request: HttpRequest) -> HttpResponse:
    """Tick, untick or clear; htmx gets the tray and the tick, a plain form goes back to where it was."""
    named = request.POST.get("toggle", "")
    if request.POST.get("clear"):
        basket.fill(request, [])
    elif named:
        basket.toggle(request, named)
    if not request.htmx:
        return lead_back(request, request.POST.get("next", ""))
    if not named:
        return redirect_by_htmx()
    viewer = access.viewer_of(request)
    repository = access.repository(viewer, *split_path(named.partition("@")[0]))
    return render(request, "parts/ticked.html", {"repository": repository, "ticked": basket.repositories(request)})


def redirect_by_htmx() -> HttpResponse:
    """Tells htmx to load the page anew, so that every tick on it is drawn again."""
    return HttpResponse(headers={"HX-Refresh": "true"})
