"""What a worker does with jobs: claim, renew, move on, report, finish; and how the reaper takes a job back.

Every write is one conditional update on (job, attempt, states). Nothing updated means that this attempt is over: the
job was cancelled, or taken back and given to another worker. The ghost gets `LostLease` and has changed nothing.
"""

import logging
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet

from composition.errors import Cancelled
from hub.models import ALLOWED, HELD, Job, JobLog, State, Version, clock
from hub.progress import publish_progress
from hub.queries import quota
from hub.services.audit import record
from hub.services.jobs.files import let_go
from hub.services.jobs.queue import announce, send_later
from hub.services.jobs.scheduling import has_room
from hub.services.jobs.storable import storable

MAX_LOG_LINES = 5_000
# A job that is put off waits one lease, then two, four and so on, but no longer than this.
LONGEST_PUT_OFF = timedelta(minutes=10)
MOST_PUT_OFF = 100
PUT_OFF = "job.put_off"

log = logging.getLogger(__name__)


class LostLease(Cancelled):
    """This attempt is over: another may run, or somebody cancelled the job. Stop, and write nothing."""


@transaction.atomic
def claim(job_id: int, *, worker: str) -> Job | None:
    """Take a queued job for this worker, with the next attempt's number; None if there is nothing to take.

    A job that is put off, or whose owner has as many running as they may, stays queued.
    """
    if not has_room(job_id):
        return None
    taken = (
        due()
        .filter(pk=job_id)
        .update(
            state=State.LOADING,
            attempt=F("attempt") + 1,
            worker=worker,
            lease_until=_lease(),
            started_at=clock.now(),
            progress=0.0,
            message="",
            figures={},
        )
    )
    if not taken:
        return None
    job = Job.objects.select_related("base", "created_by", "output_namespace").get(pk=job_id)
    announce(job)
    return job


def renew(*, job_id: int, attempt: int) -> None:
    """Hold the job for another lease; LostLease if it is no longer this attempt's."""
    _write(job_id, attempt, HELD, lease_until=_lease())


def is_held(*, job_id: int, attempt: int) -> bool:
    """True while the job is this attempt's to work on."""
    return Job.objects.filter(pk=job_id, attempt=attempt, state__in=HELD).exists()


@transaction.atomic
def advance(*, job_id: int, attempt: int, state: str) -> None:
    """Move to `state` from wherever the transition table allows, and renew the lease."""
    before = [old for old in HELD if state in ALLOWED[old]]
    _write(job_id, attempt, before, state=state, lease_until=_lease())
    transaction.on_commit(lambda: publish_progress(job_id, "state", state=str(state), attempt=attempt))


def report_progress(
    *, job_id: int, attempt: int, fraction: float, message: str = "", figures: dict | None = None
) -> None:
    """Write how far the attempt is, for those who look at the database."""
    _write(job_id, attempt, HELD, progress=min(max(fraction, 0.0), 1.0), message=message[:300], figures=figures or {})


def add_log(*, job_id: int, attempt: int, text: str) -> None:
    """Keep a line of the log, and show it live; LostLease if the attempt is over. Lines past 5,000 are live only."""
    if not Job.objects.filter(pk=job_id, attempt=attempt, state__in=HELD).exists():
        raise LostLease(f"job {job_id}, attempt {attempt}")
    if JobLog.objects.filter(job_id=job_id, attempt=attempt).count() < MAX_LOG_LINES:
        JobLog.objects.create(job_id=job_id, attempt=attempt, text=storable(text[:1000]))
    publish_progress(job_id, "log", text=text[:1000], attempt=attempt)


@transaction.atomic
def finish(
    *,
    job_id: int,
    attempt: int,
    version: Version | None = None,
    environment: dict | None = None,
    figures: dict | None = None,
) -> None:
    """SAVING → DONE. Call it first in the transaction that writes the result: it is the fence, and holds the row."""
    values = {"result": version, "environment": environment, "figures": figures}
    given = {name: value for name, value in values.items() if value is not None}
    _end(job_id, attempt, (State.SAVING,), State.DONE, progress=1.0, message="", error=None, **given)
    let_go(job_id)


@transaction.atomic
def fail(*, job_id: int, attempt: int, error: dict) -> None:
    """End the attempt and the job; `error` is {code, message, …} for the person who asked."""
    _end(job_id, attempt, HELD, State.FAILED, error=error, message=str(error.get("message", ""))[:300])


@transaction.atomic
def release(*, job_id: int, attempt: int) -> None:
    """Give the job back to the queue because this worker stops; nobody's fault, so it counts as no loss."""
    _write(
        job_id, attempt, (State.LOADING, State.RUNNING), **_queued(message="Its worker was stopped; it starts again.")
    )
    job = Job.objects.get(pk=job_id)
    announce(job)
    send_later(job)


@transaction.atomic
def put_off(*, job_id: int, attempt: int, fault: str) -> None:
    """Queue the job again for later, because of a fault that passes by itself. It isn't counted as lost.

    `fault` says in words what is wrong. The job says it too, waits a lease, the next time twice as long, up to ten
    minutes, and can be cancelled meanwhile. After a hundred times it fails.
    """
    held = Job.objects.filter(pk=job_id, attempt=attempt, state__in=HELD).first()
    if held is None:
        raise LostLease(f"job {job_id}, attempt {attempt}")
    times = (held.error or {}).get("times", 0) + 1
    wait = min(timedelta(seconds=settings.JOB_LEASE_SECONDS) * 2 ** min(times - 1, 20), LONGEST_PUT_OFF)
    says = f"{fault} ({held.worker})."
    if times >= MOST_PUT_OFF:
        message = f"{says} It was so {times} times. An administrator has to mend it; then retry the job."
        fail(job_id=job_id, attempt=attempt, error={"code": PUT_OFF, "message": message, "times": times})
        return
    message = f"{says} Nothing is lost: the job runs again at {clock.read() + wait:%H:%M:%S} UTC."
    error = {"code": PUT_OFF, "message": message, "times": times}
    _write(job_id, attempt, HELD, **_queued(message=message[:300]) | {"lease_until": clock.after(wait), "error": error})
    announce(Job.objects.get(pk=job_id))


def due() -> QuerySet[Job]:
    """Queued jobs, without those that are put off until later."""
    return Job.objects.filter(Q(lease_until=None) | Q(lease_until__lte=clock.now()), state=State.QUEUED)


@transaction.atomic
def take_back(job_id: int, attempt: int) -> bool:
    """Queue a job of a silent worker again, or fail it if that happened too often. Fenced like any worker's write."""
    silent = Job.objects.select_for_update().filter(state__in=HELD, lease_until__lt=clock.now())
    job = silent.filter(pk=job_id, attempt=attempt).first()
    if job is None:
        return False
    lost, was = job.lost + 1, job.state
    try:
        if lost >= job.max_attempts:
            message = (
                f"Its worker went silent {lost} times, the last time ({job.worker}) while {was}. Most often that is "
                "too little memory on the worker's machine. Retry it, or ask for less."
            )
            error = {"code": "worker.lost", "message": message, "times": lost}
            _end(job_id, attempt, HELD, State.FAILED, error=error, message=message[:300], lost=lost)
        else:
            _write(job_id, attempt, HELD, **_queued(message="Its worker went silent; it starts again."), lost=lost)
            announce(Job.objects.get(pk=job_id))
    except LostLease:
        return False
    log.warning("job %s: worker %s went silent in attempt %s while %s", job_id, job.worker, attempt, was)
    return True


def _write(job_id: int, attempt: int, states: tuple | list, **values: object) -> None:
    kept = {name: storable(value) for name, value in values.items()}
    if not Job.objects.filter(pk=job_id, attempt=attempt, state__in=states).update(**kept):
        raise LostLease(f"job {job_id}, attempt {attempt}")


def _end(job_id: int, attempt: int, states: tuple, state: str, **values: object) -> None:
    """End the job and note it, in the caller's transaction. A worker acted, nobody else: the event has no actor."""
    _write(job_id, attempt, states, state=state, finished_at=clock.now(), lease_until=None, **values)
    job = Job.objects.defer("outcome").get(pk=job_id)
    failure = {"code": (job.error or {}).get("code", "")} if state == State.FAILED else {}
    record(None, f"job.{job.state}", job, kind=job.kind, attempt=attempt, worker=job.worker, **failure)
    data = {"state": str(state), "attempt": attempt, "error": values.get("error"), "message": values["message"]}
    transaction.on_commit(lambda: publish_progress(job_id, "state", **data))
    if quota.limits_of(job.created_by)["running_jobs"]:
        # Their next one may have been passed over while this one ran, and its message is gone.
        waits = Job.objects.filter(created_by=job.created_by_id, state=State.QUEUED).order_by("pk").first()
        if waits:
            send_later(waits)


def _queued(message: str) -> dict[str, object]:
    return {
        "state": State.QUEUED,
        "worker": "",
        "lease_until": None,
        "sent_at": None,
        "progress": 0.0,
        "message": message,
    }


def _lease():
    return clock.after(timedelta(seconds=settings.JOB_LEASE_SECONDS))
