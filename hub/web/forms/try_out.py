"""The page where an adapter answers a prompt: the form, the trial as it runs, and what came of it."""

import uuid
from dataclasses import dataclass

from django.http import HttpRequest
from django.urls import reverse

from composition.recipes import TryRecipe
from hub import access
from hub.access import Viewer
from hub.errors import NotFound
from hub.http.job_serializers import HIDDEN, show_whole
from hub.models import ADAPTER, Job, Version
from hub.names import split_path
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.queue import CANCELLABLE
from hub.services.jobs.request import JobRequest
from hub.services.jobs.waiting import busy_with
from hub.web.charts import tokens
from hub.web.forms import recipe_fields
from hub.web.forms.job_form import JobForm
from hub.web.pages.generated import joined, offered
from hub.web.pages.repository import Heading

TEXTS = ("prompt", "context")


@dataclass(kw_only=True)
class TryForm(JobForm):
    """The prompt, and the trial that is looked at."""

    page: Heading
    version: Version
    hint: str = ""
    job: Job | None = None

    @property
    def address(self) -> str:
        """Where the form goes."""
        return self.page.url("try")

    def request(self) -> JobRequest:
        return super().request().replace(inputs={ADAPTER: (self.version,)})

    def context(self) -> dict:
        """For templates/repository/try.html."""
        shown = show_whole(self.viewer, self.job) if self.job else None
        answers = ((shown or {}).get("outcome") or {}).get("answers") or {}
        base = self.version.base or self.page.facts.base_model_name
        sides = [{"side": "with", "title": f"With {shown['inputs'][0] if shown else self.version}"}]
        if shown is None or shown["recipe"]["compare"]:
            sides.append({"side": "without", "title": f"Without: {base} alone"})
        if shown and shown["recipe"].get("context") and (not self.job.is_final or "text" in answers):
            sides.append({"side": "text", "title": f"Without, the full text in the prompt: {base}"})
        for side in sides:
            side["answer"] = answers.get(side["side"])
        return {
            **self.shared_context(),
            "page": self.page,
            "trying": self,
            "key": uuid.uuid4().hex,
            "fields": recipe_fields.drawn(self.method, self.recipe, without=TEXTS),
            "job": shown,
            "final": bool(self.job and self.job.is_final),
            "cancellable": bool(self.job and self.job.state in CANCELLABLE),
            "sides": sides,
            "busy": busy_with(self.job) if self.job else "",
            "tokens": tokens.drawn((answers.get("with") or {}).get("routing")),
        }


def opened(request: HttpRequest, viewer: Viewer, page: Heading) -> TryForm:
    """The page of an address: empty, or with the trial that `?job=` names; another's trial is 404."""
    if page.version is None:
        raise NotFound(f"{page.repository.path} has no valid version yet, so there is nothing to try.")
    texts, hint = offered(viewer, page.version)
    method = recipe_fields.method_for(TryRecipe)
    trying = TryForm(viewer=viewer, method=method, recipe={}, page=page, version=page.version, hint=hint)
    if wanted := request.GET.get("job", ""):
        job = access.job(viewer, int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 19 else 0)
        if kind_of(job.kind).seen_at != "try" or job.inputs.get().version.repository_id != page.repository.pk:
            raise access.missing(wanted, "job")
        trying.job, trying.recipe = job, job.recipe
    elif request.method != "POST" and viewer.user:
        trying.recipe = {"context": joined(texts)}
    if request.method == "POST":
        trying.key = request.POST.get("key", "")[:64]
        trying.recipe = recipe_fields.read(method, request.POST)
        trying.recipe |= {name: trying.recipe[name].replace("\r\n", "\n") for name in TEXTS if name in trying.recipe}
    return trying


def address(job: dict) -> str:
    """Where a trial (as `show` gives it) is looked at; "" for other jobs, and where its adapter can't be seen."""
    page = kind_of(job["kind"]).seen_at
    if not page or job["inputs"][0] == HIDDEN:
        return ""
    name, _, ref = job["inputs"][0].partition("@")
    return f"{reverse(page, args=[*split_path(name), ref])}?job={job['id']}"
