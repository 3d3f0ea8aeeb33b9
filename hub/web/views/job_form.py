"""What a view does with a form that starts a job: show it, check it, start it."""

from collections.abc import Mapping

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from hub.web.forms.job_form import JobForm

CHECK = "merge/check.html"


def answer(request: HttpRequest, form: JobForm, page: str, more: Mapping[str, object] = {}) -> HttpResponse:
    """The page; sent with `check` what would come of it (to htmx that part alone), else the started job."""
    check = request.method == "POST" and bool(request.POST.get("check"))
    if request.method == "POST":
        job = form.submit(check=check)
        if job:
            if form.notice:
                messages.success(request, form.notice)
            return redirect("job", job.pk)
    context = {**form.context(), **more}
    if check and request.htmx:
        return render(request, CHECK, context)
    return render(request, page, context, status=form.refused.status)
