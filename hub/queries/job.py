"""Jobs a viewer may watch, and how they ended."""

from django.db.models import Prefetch, QuerySet

from hub import access
from hub.access import Viewer
from hub.models import (
    FINAL,
    Job,
    Version,
)


def jobs(viewer: Viewer, state: str = "") -> QuerySet[Job]:
    """Jobs this viewer began, and those of namespaces they belong to, newest first."""
    access.require_user(viewer)
    found = Job.objects.filter(access.watchable(viewer))
    if state:
        found = found.filter(state=state)
    related = ("output_namespace", "output__namespace", "base", "created_by", "result__repository__namespace")
    measured = tuple(f"evaluation__{name}" for name in ("dataset__repository__namespace", "base", "created_by"))
    heavy = ("outcome", "base__config", "base__shapes", "result__facts", "result__report", "evaluation__base__shapes")
    versions = Version.objects.select_related("repository__namespace").defer("facts", "report")
    found = found.select_related(*related, *measured).defer(*heavy)
    return found.prefetch_related(Prefetch("inputs__version", versions), "files").order_by("-pk")


def job_end(pk: int) -> dict | None:
    """State, attempt, error and message of a job that is over; None while it isn't."""
    row = Job.objects.filter(pk=pk).values("state", "attempt", "error", "message").first()
    return row if row is None or row["state"] in FINAL else None


def job_of_key(viewer: Viewer, key: str | None) -> Job | None:
    """The viewer's job that was asked for under this idempotency key."""
    return access.require_user(viewer).jobs.filter(idempotency_key=key).first() if key else None
