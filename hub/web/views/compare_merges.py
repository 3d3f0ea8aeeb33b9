"""Comparing merge methods: the merge page starts it, and shows what came of it once a worker has answered."""

from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from hub import access
from hub.http.job_serializers import show
from hub.services.jobs.kinds import kind_of
from hub.web.forms import compare_merges as compare_form
from hub.web.pages import comparison

PAGE = "merge/compare_page.html"


@require_http_methods(["GET", "POST"])
def compare_merges(request: HttpRequest) -> HttpResponse:
    """Sent, it starts a comparison; then `?job=` names it, and the page asks again until it is over."""
    viewer = access.viewer_of(request)
    access.require_user(viewer)
    if request.method == "POST":
        form = compare_form.sent(request)
        if job := form.submit(check=False):
            return redirect(f"{reverse('compare_merges')}?job={job.pk}")
        return form.refused.on(render(request, PAGE, {"refused": form.refused}))
    wanted = request.GET.get("job", "")
    if not wanted:
        return redirect("merge")
    job = access.job(viewer, int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 19 else 0)
    if kind_of(job.kind).answer_page != comparison.TEMPLATE:
        raise access.missing(wanted, "job")
    context = {"job": show(viewer, [job])[0], "final": job.is_final, "choosing": _on_merge_page(request)}
    answer = comparison.build(comparison.answer(viewer, job)) if job.is_final else None
    return render(request, PAGE, {**context, "comparison": answer})


def _on_merge_page(request: HttpRequest) -> bool:
    """Whether the merge page asks for its part: a method is chosen there by its form, which keeps what was typed."""
    return bool(request.htmx) and urlsplit(request.htmx.current_url or "").path == reverse("merge")
