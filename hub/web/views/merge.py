"""Merging and evaluating: forms drawn from recipes, checked before they start."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from hub import access
from hub.web import basket
from hub.web.forms import evaluate as evaluate_form
from hub.web.forms import merge as merge_form
from hub.web.views.job_form import CHECK, answer


@require_http_methods(["GET", "POST"])
def merge(request: HttpRequest) -> HttpResponse:
    """The merge form; sent with `check` it shows what would come of it, else it starts the job."""
    if request.method == "GET":
        return render(request, "merge/page.html", merge_form.opened(request).context(request))
    if chosen := request.POST.get("choose"):
        return redirect(f"{reverse('merge')}?{merge_form.typed_so_far(request.POST, chosen)}")
    access.require_user(access.viewer_of(request))
    form, check = merge_form.sent(request), bool(request.POST.get("check"))
    job = form.submit(check=check)
    if job:
        basket.fill(request, [])
        return redirect("job", job.pk)
    template = CHECK if check and request.htmx else "merge/page.html"
    return render(request, template, form.context(request), status=200 if check else form.refused.status)


@require_http_methods(["GET", "POST"])
def evaluate(request: HttpRequest) -> HttpResponse:
    """Measure one adapter, or a bare base, on a dataset."""
    viewer, sent = access.viewer_of(request), request.method == "POST"
    access.require_user(viewer)
    form = evaluate_form.read(viewer, request.POST if sent else request.GET, sent=sent)
    return answer(request, form, "merge/evaluate.html")
