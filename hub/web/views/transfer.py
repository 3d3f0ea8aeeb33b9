"""Moving an adapter to another base."""

import io
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from composition.errors import CompositionError
from hub import access
from hub.errors import Invalid, NotFound
from hub.services.content import companions
from hub.services.jobs import queue
from hub.services.verdict_arms import measure_arms
from hub.web import basket
from hub.web.forms import transfer as transfer_page
from hub.web.forms.refusal import refusal_of
from hub.web.pages import repository, transfer_report


@require_http_methods(["GET", "POST"])
def transfer(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """The form; sent with `check` it shows what would come of it, else it starts the job."""
    viewer = access.viewer_of(request)
    ref = (request.POST if request.method == "POST" else request.GET).get("version") or None
    page = repository.heading(viewer, namespace, name, ref, "transfer", "adapter")
    if page.version is None:
        raise NotFound(f"{page.repository.full_name} has no version that could be moved yet.")
    moving, report = transfer_page.read(request, page, sent=request.method == "POST"), None
    if request.method == "POST":
        access.require_user(viewer)
        with refusal_of(moving.refused):
            if request.POST.get("check"):
                report = queue.check_job(**moving.asked())
            else:
                return redirect("job", _start(request, moving).pk)
    htmx = request.method == "POST" and request.POST.get("check") and request.htmx
    context = {**moving.context(report), "ticked": basket.repositories(request)}
    status = 200 if htmx else moving.refused.status
    return render(request, "merge/check.html" if htmx else "transfer/page.html", context, status=status)


def _start(request: HttpRequest, moving: transfer_page.Moving):
    job = queue.queue_job(**moving.asked(), idempotency_key=moving.key)
    if moving.keep and moving.page.may_write and moving.texts.get("seeds", "").strip():
        companions.add_companion(
            actor=moving.viewer.user,
            repository=moving.page.repository,
            kind=companions.SEEDS,
            name="seeds.jsonl",
            stream=io.BytesIO(moving.texts["seeds"].encode()),
        )
        messages.success(request, "The seeds are kept with the adapter, privately.")
    return job


@require_POST
def measure(request: HttpRequest, namespace: str, name: str, ref: str) -> HttpResponse:
    """Queue the evaluations that the verdict on a transferred version lacks."""
    viewer = access.viewer_of(request)
    version = access.version(viewer, namespace, name, ref, kind="adapter")
    access.require_user(viewer)
    asked = {key: request.POST.get(key, "").strip() for key in ("dataset", "oracle")}
    try:
        if not asked["dataset"]:
            raise Invalid("Choose a dataset to measure the arms on.", field="dataset")
        queued = measure_arms(actor=viewer.user, version=version, **transfer_report.named_arms(viewer, asked))
        say = f"{len(queued)} evaluations are queued; see Jobs." if queued else "Every arm is measured already."
        messages.success(request, say)
    except (Invalid, CompositionError) as error:
        messages.error(request, error.message)
    where = reverse("report", args=[namespace, name, ref])
    return redirect(f"{where}?{urlencode({key: value for key, value in asked.items() if value})}")
