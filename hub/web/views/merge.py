"""Merging and evaluating: forms drawn from recipes, checked before they start."""

import uuid

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from hub import access
from hub.services.jobs import queue
from hub.web import basket
from hub.web.forms import evaluate as evaluate_page
from hub.web.forms import merge as merge_page
from hub.web.forms.refusal import refusal_of


@require_http_methods(["GET", "POST"])
def merge(request: HttpRequest) -> HttpResponse:
    """The merge form; sent with `check` it shows what would come of it, else it starts the job."""
    if request.method == "GET":
        return render(request, "merge/page.html", merge_page.opened(request).context(request))
    access.require_user(access.viewer_of(request))
    merging, report = merge_page.sent(request), None
    if request.POST.get("check"):
        with refusal_of(merging.refused):
            report = queue.check_job(**merging.asked())
        template = "merge/check.html" if request.htmx else "merge/page.html"
        return render(request, template, merging.context(request, report))
    with refusal_of(merging.refused):
        job = queue.queue_job(**merging.asked(), idempotency_key=merging.key or None)
        basket.fill(request, [])
        return redirect("job", job.pk)
    context = merging.context(request, report)
    return render(request, "merge/page.html", context, status=merging.refused.status)


@require_http_methods(["GET", "POST"])
def evaluate(request: HttpRequest) -> HttpResponse:
    """Measure one adapter, or a bare base, on a dataset."""
    viewer = access.viewer_of(request)
    access.require_user(viewer)
    form = request.POST if request.method == "POST" else request.GET
    evaluating = evaluate_page.read(viewer, form, sent=request.method == "POST")
    if request.method == "POST":
        with refusal_of(evaluating.refused):
            job = queue.queue_job(**evaluating.asked(), idempotency_key=form.get("key", "")[:64] or None)
            return redirect("job", job.pk)
    context = {**evaluating.context(), "key": uuid.uuid4().hex}
    return render(request, "merge/evaluate.html", context, status=evaluating.refused.status)
