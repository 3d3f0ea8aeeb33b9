"""Turning texts into an adapter, and training what does it: the forms, their checks, their starts."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from hub import access
from hub.web.forms import generate as generate_form
from hub.web.forms import train_generator as train_form
from hub.web.views.job_form import CHECK, answer


@require_http_methods(["GET", "POST"])
def generate(request: HttpRequest) -> HttpResponse:
    """The form; sent with `preview` it shows the chunks, with `check` what would come of it, else it starts the job."""
    sent = request.method == "POST"
    if sent:
        access.require_user(access.viewer_of(request))
    form, page = generate_form.read(request, sent=sent), "generate/page.html"
    only = next((name for name in ("preview", "check") if request.POST.get(name)), "")
    if sent and not form.refused and only != "preview":
        job = form.submit(check=only == "check")
        if job:
            return redirect("job", job.pk)
    part = {"preview": "generate/preview.html", "check": CHECK}.get(only) if request.htmx else None
    return render(request, part or page, form.context(), status=200 if part else form.refused.status)


@require_http_methods(["GET", "POST"])
def train(request: HttpRequest) -> HttpResponse:
    """The form for a generator; sent with `check` it shows what would come of it, else it starts the job."""
    sent = request.method == "POST"
    if sent:
        access.require_user(access.viewer_of(request))
    return answer(request, train_form.read(request, sent=sent), "generate/train.html")
