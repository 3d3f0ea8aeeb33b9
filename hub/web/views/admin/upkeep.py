"""The upkeep's page: what runs by itself, when it did last and how that ended. For administrators of the site."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from hub import access
from hub.services.upkeep.status import status


@require_safe
def upkeep(request: HttpRequest) -> HttpResponse:
    """Every task with its last and next run."""
    access.require_site_admin(access.viewer_of(request))
    return render(request, "admin/upkeep.html", {"tasks": status(), "section": "upkeep"})
