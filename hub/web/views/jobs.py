"""Jobs and workers: the list, one job live, cancel, retry, run again with changes."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from composition.errors import CompositionError
from hub import access, queries
from hub.errors import HubError, Invalid
from hub.http.job_serializers import HIDDEN, Sight, show
from hub.http.worker_serializers import show_workers
from hub.models import Priority, State
from hub.services.jobs import queue as services
from hub.web import basket
from hub.web.forms import any_kind, try_out
from hub.web.pages import job as job_page
from hub.web.paging import page
from hub.web.views.job_form import answer

LOG_LINES = 500


@require_safe
def jobs(request: HttpRequest) -> HttpResponse:
    """My jobs and my namespaces', newest first."""
    viewer, state = access.viewer_of(request), request.GET.get("state", "")
    if state and state not in State.values:
        raise Invalid(f"state={state!r} is not a state; choose one of {', '.join(State.values)}.", field="state")
    rows, following = page(request, queries.jobs(viewer, state), ("-id",))
    context = {"here": "jobs", "jobs": show(viewer, rows), "next": following, "state": state, "states": State.values}
    return render(request, "jobs/list.html", context)


@require_http_methods(["GET", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """A form for a job of any kind; without a kind, the kinds to choose from."""
    if request.method == "GET" and not request.GET.get("kind"):
        return render(request, "jobs/kinds.html", {"here": "jobs", "methods": any_kind.offered()})
    if request.method == "POST":
        access.require_user(access.viewer_of(request))
    return answer(request, any_kind.read(request), "jobs/new.html")


@require_safe
def job(request: HttpRequest, pk: int) -> HttpResponse:
    """One job: live by server-sent events, and by reloading where there is no JavaScript."""
    viewer = access.viewer_of(request)
    found = access.job(viewer, pk)
    sight = Sight(viewer, [found])
    lines = list(found.log.order_by("-pk")[:LOG_LINES])[::-1]
    context = {
        "here": "jobs",
        "job": show(viewer, [found])[0],
        **job_page.more(viewer, found),
        "final": found.is_final,
        "cancellable": found.state in services.CANCELLABLE,
        "priorities": [one.label for one in Priority if one != Priority.URGENT],
        "retryable": found.state in (State.FAILED, State.CANCELLED),
        "steps": [State.QUEUED, State.LOADING, State.RUNNING, State.SAVING, State.DONE],
        "log": [{"pk": line.pk, "at": line.at, "text": sight.tell(found, line.text)} for line in lines],
        "hidden": HIDDEN,
    }
    context["trial"] = try_out.address(context["job"])
    return render(request, "jobs/job.html", context)


@require_POST
def act(request: HttpRequest, pk: int, action: str) -> HttpResponse:
    """Cancel, retry, or take recipe and inputs to the merge page."""
    viewer = access.viewer_of(request)
    if action == "again":
        found, candidate = access.job(viewer, pk), request.POST.get("candidate")
        at = job_page.again_at(viewer, found, candidate)
        basket.fill(request, [name for name in show(viewer, [found])[0]["inputs"] if name != HIDDEN])
        return redirect(at)
    found = access.job(viewer, pk, "write")
    service = {"cancel": services.cancel_job, "retry": services.retry_job}[action]
    try:
        service(actor=viewer.user, job=found)
    except (HubError, CompositionError) as error:
        messages.error(request, error.message)
    return redirect(try_out.address(show(viewer, [found])[0]) or reverse("job", args=[pk]))


@require_POST
def set_priority(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a job that waits come before or after its owner's others."""
    viewer = access.viewer_of(request)
    found = access.job(viewer, pk, "write")
    try:
        services.set_priority(actor=viewer, job=found, priority=request.POST.get("priority", ""))
    except HubError as error:
        messages.error(request, error.message)
    return redirect("job", pk)


@require_safe
def workers(request: HttpRequest) -> HttpResponse:
    """The workers of the last day, their devices and bases; administrators of the site also see their hosts."""
    viewer = access.viewer_of(request)
    access.require_user(viewer)
    return render(request, "jobs/workers.html", {"workers": show_workers(viewer, queries.workers())})
