"""Trying an adapter: one prompt, answered by a worker while one watches."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from hub import access
from hub.models import Kind
from hub.web import basket
from hub.web.forms import try_out
from hub.web.pages import repository as repository_page


@require_http_methods(["GET", "POST"])
def trial(request: HttpRequest, namespace: str, name: str, ref: str | None = None) -> HttpResponse:
    """The form; sent it starts a trial, which the same page then shows."""
    viewer = access.viewer_of(request)
    page = repository_page.heading(viewer, namespace, name, ref, "try", Kind.ADAPTER)
    form = try_out.opened(request, viewer, page)
    if request.method == "POST":
        job = form.submit(check=False)
        if job:
            return redirect(f"{form.address}?job={job.pk}")
    context = {**form.context(), "ticked": basket.repositories(request)}
    return render(request, "repository/try.html", context, status=form.refused.status)
