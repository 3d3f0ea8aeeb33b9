"""The upload page: the files go through the REST API from the browser, and resume; the commit makes the repository."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from composition.formats import folder_rules
from hub import access, queries
from hub.models import Kind, Visibility
from hub.names import split_path


@require_http_methods(["GET"])
def upload(request: HttpRequest) -> HttpResponse:
    """Choose where to, drop a folder, watch it go."""
    viewer = access.viewer_of(request)
    access.require_user(viewer)
    wanted = request.GET.get("to", "")
    place, name = split_path(wanted)
    found = access.repository(viewer, place, name, "write") if place and name else None
    context = {
        "here": "upload",
        "namespaces": queries.writable(viewer),
        "bases": queries.bases(viewer),
        "target": found,
        "stored": queries.stored([found.namespace.name] if found else queries.writable(viewer)),
        "kinds": list(Kind),
        "visibilities": Visibility.values,
        "folder_rules": folder_rules.as_json(),
    }
    return render(request, "repository/upload.html", context)
