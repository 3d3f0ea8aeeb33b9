"""The one table of what runs by itself: how often, what, and which setting says how long things are kept.

Each function deletes in small batches and asks `go_on` in between, so that it can be stopped at any moment and is taken
up again later. A task is run by `hub.services.upkeep.runner`, which lets one process of all machines run at a time.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import QuerySet
from django.utils import timezone

from hub.errors import Conflict, NotFound
from hub.models import FINAL, Delivery, Event, Job, JobLog, Repository, clock
from hub.services import outbox
from hub.services.jobs import files
from hub.services.parsing import card_pages
from hub.services.upkeep import batches
from hub.services.upkeep.garbage import collect_garbage
from hub.services.upkeep.purge import purge_repository, reduce_tombstone

GoOn = Callable[[], bool]
HOUR, DAY = 3600, 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`run` is called every `every` seconds, and says in words what it did."""

    name: str
    every: int
    summary: str
    run: Callable[[GoOn], str]
    setting: str = ""

    @property
    def often(self) -> str:
        """How often it runs, in words."""
        return {DAY: "every day", HOUR: "every hour"}.get(self.every, f"every {self.every // 60} minutes")


def _old(days: int) -> datetime | None:
    return clock.read() - timedelta(days=days) if days else None


def _delete(found: QuerySet, go_on: GoOn) -> int:
    """Delete the rows in batches, as long as `go_on` says so; how many of them."""
    deleted = 0
    for some in batches.pks(found):
        if not go_on():
            break
        deleted += found.filter(pk__in=some).delete()[1].get(found.model._meta.label, 0)
    return deleted


def _job_files(go_on: GoOn) -> str:
    return f"{files.purge()} files of jobs let go"


def _outbox(go_on: GoOn) -> str:
    return f"{outbox.purge()} sent rows deleted"


def _trash(go_on: GoOn) -> str:
    before, purged, tombstones = _old(settings.KEEP_TRASH_DAYS), 0, 0
    in_trash = Repository.objects.filter(purged_at=None, deleted_at__lt=before) if before else Repository.objects.none()
    for some in batches.rows(in_trash):
        for repository in some:
            if not go_on():
                return f"{purged} repositories deleted for good"
            with suppress(Conflict, NotFound):  # Restored in the meantime, or deleted for good by someone.
                purge_repository(actor=None, repository=repository, before=before)
                purged += 1
    for some in batches.rows(Repository.objects.filter(purged_at__isnull=False)):
        for repository in some:
            if go_on():
                tombstones += reduce_tombstone(repository)
    return f"{purged} repositories deleted for good, {tombstones} tombstones that nothing refers to any more"


def _job_logs(go_on: GoOn) -> str:
    before = _old(settings.KEEP_JOB_LOGS_DAYS)
    if before is None:
        return "kept for ever"
    over = JobLog.objects.filter(at__lt=before, job__state__in=FINAL, job__finished_at__lt=before)
    return f"{_delete(over, go_on)} lines deleted"


def _jobs(go_on: GoOn) -> str:
    before = _old(settings.KEEP_JOBS_DAYS)
    if before is None:
        return "kept for ever"
    return f"{_delete(Job.objects.filter(state__in=FINAL, finished_at__lt=before), go_on)} jobs deleted"


def _events(go_on: GoOn) -> str:
    before = _old(settings.KEEP_EVENTS_DAYS)
    if before is None:
        return "kept for ever"
    return f"{_delete(Event.objects.filter(created_at__lt=before), go_on)} events deleted"


def _sessions(go_on: GoOn) -> str:
    if settings.SESSION_ENGINE == "django.contrib.sessions.backends.db":
        expired = Session.objects.filter(expire_date__lt=timezone.now())
        return f"{_delete(expired, go_on)} expired sessions deleted"
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    return "expired sessions deleted"


def _deliveries(go_on: GoOn) -> str:
    before = _old(settings.KEEP_DELIVERIES_DAYS)
    if before is None:
        return "kept for ever"
    return f"{_delete(Delivery.objects.filter(ended_at__lt=before), go_on)} deliveries deleted"


def _cards(go_on: GoOn) -> str:
    return f"{card_pages.forget_old(timezone.now() - card_pages.KEPT)} rendered cards forgotten"


def _garbage(go_on: GoOn) -> str:
    return f"{collect_garbage(go_on=go_on)} removed"


SCHEDULE = {
    task.name: task
    for task in (
        Task(
            name="job-files",
            every=HOUR // 2,
            summary="let go of the private files of jobs that ended without a result",
            run=_job_files,
            setting="HUB_KEEP_JOB_FILES_DAYS",
        ),
        Task(
            name="outbox",
            every=HOUR,
            summary="delete rows of the outbox that were sent",
            run=_outbox,
            setting="HUB_KEEP_OUTBOX_DAYS",
        ),
        Task(name="sessions", every=DAY, summary="delete expired sessions", run=_sessions),
        Task(
            name="trash",
            every=DAY,
            summary="delete for good what was in the trash long enough",
            run=_trash,
            setting="HUB_KEEP_TRASH_DAYS",
        ),
        Task(
            name="job-logs",
            every=DAY,
            summary="delete logs of jobs that are over",
            run=_job_logs,
            setting="HUB_KEEP_JOB_LOGS_DAYS",
        ),
        Task(
            name="jobs",
            every=DAY,
            summary="delete jobs that are over; results stay",
            run=_jobs,
            setting="HUB_KEEP_JOBS_DAYS",
        ),
        Task(
            name="events",
            every=DAY,
            summary="delete old entries of the audit log",
            run=_events,
            setting="HUB_KEEP_EVENTS_DAYS",
        ),
        Task(
            name="deliveries",
            every=DAY,
            summary="delete deliveries of webhooks that ended",
            run=_deliveries,
            setting="HUB_KEEP_DELIVERIES_DAYS",
        ),
        Task(name="cards", every=DAY, summary="forget rendered cards that nobody looks at", run=_cards),
        Task(
            name="gc",
            every=DAY,
            summary="remove abandoned pushes, bytes that nothing refers to, and leftovers",
            run=_garbage,
            setting="HUB_KEEP_UNUSED_HOURS, HUB_KEEP_UPLOADS_DAYS",
        ),
    )
}
