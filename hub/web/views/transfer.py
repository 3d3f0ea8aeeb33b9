"""Moving an adapter to another base."""

from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from composition.errors import CompositionError
from hub import access
from hub.errors import Invalid, NotFound
from hub.services.verdict_arms import measure_arms
from hub.web import basket
from hub.web.forms import transfer as transfer_form
from hub.web.pages import repository as repository_page
from hub.web.pages import transfer_report
from hub.web.views.job_form import answer


@require_http_methods(["GET", "POST"])
def transfer(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """The form; sent with `check` it shows what would come of it, else it starts the job."""
    viewer, sent = access.viewer_of(request), request.method == "POST"
    ref = (request.POST if sent else request.GET).get("version") or None
    page = repository_page.heading(viewer, namespace, name, ref, "transfer", "adapter")
    if page.version is None:
        raise NotFound(f"{page.repository.path} has no version that could be moved yet.")
    form = transfer_form.read(request, page, sent=sent)
    if sent:
        access.require_user(viewer)
    return answer(request, form, "transfer/page.html", {"ticked": basket.repositories(request)})


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
