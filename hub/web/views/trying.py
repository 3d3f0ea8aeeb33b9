"""Trying an adapter: one prompt, answered by a worker while one watches."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from hub import access
from hub.models import Kind
from hub.services.jobs import queue
from hub.web import basket
from hub.web.forms import try_out
from hub.web.forms.refusal import refusal_of
from hub.web.pages import repository


@require_http_methods(["GET", "POST"])
def trial(request: HttpRequest, namespace: str, name: str, ref: str | None = None) -> HttpResponse:
    """The form; sent it starts a trial, which the same page then shows."""
    viewer = access.viewer_of(request)
    page = repository.heading(viewer, namespace, name, ref, "try", Kind.ADAPTER)
    trying = try_out.opened(request, viewer, page)
    if request.method == "POST":
        asked = trying.asked()
        with refusal_of(trying.refused):
            job = queue.queue_job(**asked, idempotency_key=request.POST.get("key", "")[:64] or None)
            return redirect(f"{trying.address}?job={job.pk}")
    context = {**trying.context(), "ticked": basket.repositories(request)}
    return render(request, "repository/try.html", context, status=trying.refused.status)
