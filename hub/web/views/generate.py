"""Turning texts into an adapter, and training what does it: the forms, their checks, their starts."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from hub import access
from hub.services.jobs import queue
from hub.web.forms import generate as generate_page
from hub.web.forms import train_generator
from hub.web.forms.refusal import refusal_of


@require_http_methods(["GET", "POST"])
def generate(request: HttpRequest) -> HttpResponse:
    """The form; sent with `preview` it shows the chunks, with `check` what would come of it, else it starts the job."""
    if request.method == "GET":
        return render(request, "generate/page.html", generate_page.read(request, sent=False).context())
    access.require_user(access.viewer_of(request))
    generating, report = generate_page.read(request, sent=True), None
    only = next((name for name in ("preview", "check") if request.POST.get(name)), "")
    if not generating.refused and only != "preview":
        with refusal_of(generating.refused):
            if not only:
                return redirect("job", queue.queue_job(**generating.asked(), idempotency_key=generating.key).pk)
            report = queue.check_job(**generating.asked())
    part = {"preview": "generate/preview.html", "check": "merge/check.html"}.get(only) if request.htmx else None
    status = 200 if part else generating.refused.status
    return render(request, part or "generate/page.html", generating.context(report), status=status)


@require_http_methods(["GET", "POST"])
def train(request: HttpRequest) -> HttpResponse:
    """The form for a generator; sent with `check` it shows what would come of it, else it starts the job."""
    if request.method == "GET":
        return render(request, "generate/train.html", train_generator.read(request, sent=False).context())
    access.require_user(access.viewer_of(request))
    training, report = train_generator.read(request, sent=True), None
    with refusal_of(training.refused):
        if not request.POST.get("check"):
            return redirect("job", queue.queue_job(**training.asked(), idempotency_key=training.key).pk)
        report = queue.check_job(**training.asked())
    part = request.htmx and request.POST.get("check")
    status = 200 if part else training.refused.status
    return render(
        request, "merge/check.html" if part else "generate/train.html", training.context(report), status=status
    )
