"""Jobs of all users, and the workers with their hosts."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from hub import access
from hub.errors import HubError
from hub.models import Priority, State
from hub.queries import administration as queries
from hub.services import administration
from hub.services.jobs.queue import CANCELLABLE
from hub.web.paging import page

FILTERS = ("state", "kind", "user", "queue")


@require_safe
def jobs(request: HttpRequest) -> HttpResponse:
    """All jobs, newest first, by state, kind, user and queue."""
    filters = {name: request.GET.get(name, "").strip() for name in FILTERS}
    rows, following = page(request, queries.all_jobs(access.viewer_of(request), **filters), ("-id",))
    shown = [{"job": job, "stuck": queries.is_stuck(job), "cancellable": job.state in CANCELLABLE} for job in rows]
    context = {"jobs": shown, "next": following, "filters": filters, "states": State.values, "section": "jobs"}
    context |= {"waits": State.QUEUED, "priorities": Priority.labels}
    return render(request, "admin/jobs.html", context)


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Cancel anybody's job."""
    viewer = access.viewer_of(request)
    job = queries.any_job(viewer, pk)
    try:
        administration.cancel_any_job(actor=viewer.user, job=job, reason=request.POST.get("reason", ""))
        messages.success(request, f"Job {pk} is cancelled.")
    except HubError as error:
        messages.error(request, error.message)
    return redirect("admin_jobs")


@require_POST
def set_priority(request: HttpRequest, pk: int) -> HttpResponse:
    """Give anybody's waiting job a priority."""
    viewer, asked = access.viewer_of(request), {name: request.POST.get(name, "") for name in ("priority", "reason")}
    job = queries.any_job(viewer, pk)
    try:
        administration.set_any_priority(actor=viewer.user, job=job, **asked)
        messages.success(request, f"Job {pk} is {asked['priority']} now.")
    except HubError as error:
        messages.error(request, error.message)
    return redirect("admin_jobs")


@require_safe
def workers(request: HttpRequest) -> HttpResponse:
    """Workers of the last day: host, device, memory, what each works on, and which went silent over a job."""
    rows = [queries.node_of(worker) for worker in queries.all_workers(access.viewer_of(request))]
    return render(request, "admin/workers.html", {"rows": rows, "section": "workers"})
