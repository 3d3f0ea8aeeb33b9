"""What a job's page shows of what its kind alone has: stages, a loss, where its verdict stands."""

from django.urls import reverse

from composition.registry import METHODS
from hub import queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import Job, State
from hub.services.jobs.kinds import kind_of
from hub.web.charts import loss
from hub.web.pages import comparison, judged


def more(viewer: Viewer, job: Job) -> dict:
    """For templates/jobs/job.html, beside what every job has."""
    method, kind = METHODS.get(job.kind), kind_of(job.kind)
    result = job.result if job.result and queries.seen(viewer, [job.result.repository_id]) else None
    report = (result.report or {}) if result else {}
    where = [result.repository.place, result.repository.name, result.label] if result else []
    return {
        "method": method,
        "numbers": {k: v for k, v in (job.figures or {}).items() if isinstance(v, int | float)},
        "stages": kind.stages,
        "transfers": kind.changes_base,
        "again_at": kind.again_at,
        "report_url": reverse("report", args=where) if where else "",
        "kept_beside": bool(method) and method.result == "companion" and job.state == State.DONE,
        "comparison": comparison.build(comparison.answer(viewer, job))
        if kind.answer_page == comparison.TEMPLATE
        else None,
        "judged": judged.build(viewer, job),
        "loss": loss.curve(report.get("distillation")),
    }


def again_at(viewer: Viewer, job: Job, candidate: str | None) -> str:
    """The address of the page where the job can be changed, or where a candidate of its search is merged."""
    if candidate is not None:
        return f"{reverse('merge')}?{judged.candidate_fields(viewer, job, candidate)}"
    if not kind_of(job.kind).again_at:
        raise Invalid("Jobs of this kind have no page to change them on. Start a new one.")
    return f"{reverse(kind_of(job.kind).again_at)}?again={job.pk}"
