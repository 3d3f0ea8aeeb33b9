"""The page of an adapter's family, where its members tag the version that is the head of it. A toy."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from hub import access
from hub.services import refs
from hub.web.forms.refusal import Refused, refusal_of
from hub.web.pages import family as family_page
from hub.web.pages import repository as repository_page


@require_http_methods(["GET", "POST"])
def family(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Parents and children; sent with a `tag`, the newest version gets it."""
    viewer, refused = access.viewer_of(request), Refused()
    tag = request.POST.get("tag", "").strip()
    if request.method == "POST":
        found = access.repository(viewer, namespace, name, "write")
        with refusal_of(refused):
            refs.set_tag(actor=viewer.user, repository=found, name=tag, revision=access.resolve(found))
            return redirect("family", namespace, name)
    page = repository_page.heading(viewer, namespace, name, None, "family", "adapter")
    context = {"page": page, "tag": tag, "refused": refused, **family_page.family(viewer, page)}
    return render(request, "repository/family.html", context, status=refused.status)
