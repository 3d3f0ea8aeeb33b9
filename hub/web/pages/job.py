"""What a job's page shows of what its kind alone has: a transfer's stages, its loss, where its verdict stands."""

from django.urls import reverse

from composition.recipes.synthesis import SynthesisOptions
from composition.registry import Method
from hub import queries
from hub.access import Viewer
from hub.models import Job, State
from hub.web.charts import loss

STAGES = {
    "transfer": ("synthesis", "filter", "labelling", "distillation"),
    "discriminator": ("synthesis", "discriminator", "measuring"),
}


def more(viewer: Viewer, job: Job, method: Method | None) -> dict:
    """For templates/jobs/job.html, beside what every job has."""
    verb = method.verb if method else ""
    invents = bool(method and issubclass(method.recipe, SynthesisOptions))
    done = job.state == State.DONE
    result = job.result if job.result and queries.seen(viewer, [job.result.repository_id]) else None
    report = (result.report or {}) if result else {}
    where = [result.repository.namespace.name, result.repository.name, result.label] if result else []
    return {
        "numbers": {k: v for k, v in (job.figures or {}).items() if isinstance(v, int | float)},
        "stages": STAGES.get(verb) if invents else None,
        "transfers": verb == "transfer",
        "report_url": reverse("report", args=where) if where else "",
        "kept_beside": verb == "discriminator" and done,
        "loss": loss.curve(report.get("distillation")) if verb == "transfer" else None,
    }
