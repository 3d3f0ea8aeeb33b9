"""Runs what `schedule` says is due, one process of all machines at a time.

Whoever asks gets nothing to do while another holds the lease `runner`. Every task's last run, outcome and next run are
kept in its row. A task whose process was killed is due again, since its next run is written at its end.
"""

import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from django.db import DatabaseError, connection

from hub.errors import Invalid
from hub.models import UpkeepTask, clock
from hub.services.upkeep import releases
from hub.services.upkeep.leases import RUNNER, is_held, lease
from hub.services.upkeep.schedule import SCHEDULE, GoOn, Task

DONE, FAILED, STOPPED = "done", "failed", "stopped"
SECONDS_AFTER_A_STOP, SECONDS_AFTER_A_FAILURE = 60, 600

log = logging.getLogger(__name__)


def is_due() -> bool:
    """True where a task's time has come and nobody is at work. A new task's time comes after one interval.

    Never where a later release has migrated the database: its processes do it.
    """
    _note_new_tasks()
    due = UpkeepTask.objects.filter(name__in=SCHEDULE, next_at__lte=clock.now())
    return due.exists() and not is_held(RUNNER) and not releases.later()


def run_due(go_on: GoOn = lambda: True, *, names: Sequence[str] | None = None) -> list[UpkeepTask] | None:
    """Run what is due, or the tasks of these names, due or not; their rows. None where another process is at it.

    `go_on` is asked between small steps; once it answers False, the task at work stops and is due again in a minute.
    Invalid for a name that is not in the schedule, Conflict on a database of a later release.
    """
    unknown = sorted(set(names or ()) - set(SCHEDULE))
    if unknown:
        raise Invalid(f"There is no task {unknown[0]!r}; choose from {', '.join(SCHEDULE)}.", field="name")
    releases.require_newest("the upkeep")
    _note_new_tasks()
    with lease(RUNNER) as held:
        if held is None:
            return None
        due = UpkeepTask.objects.filter(name__in=SCHEDULE, next_at__lte=clock.now()).order_by("next_at", "pk")
        wanted = names if names is not None else list(due.values_list("name", flat=True))
        ran = []
        for name in wanted:
            if not go_on() or not held.renew():
                break
            ran.append(_run(SCHEDULE[name], lambda: go_on() and held.renew()))
    return ran


def run_forever(go_on: GoOn, *, seconds: float = 60.0) -> None:
    """Look for what is due every so many seconds until `go_on` answers False; an unreachable database is waited for."""
    while go_on():
        try:
            if is_due():
                run_due(go_on)
        except DatabaseError as error:
            log.warning("upkeep could not reach the database: %s", error)
            connection.close()
        until = time.monotonic() + seconds
        while go_on() and time.monotonic() < until:
            time.sleep(min(1.0, seconds))


def _note_new_tasks() -> None:
    known = set(UpkeepTask.objects.filter(name__in=SCHEDULE).values_list("name", flat=True))
    new = [task for name, task in SCHEDULE.items() if name not in known]
    if new:
        now = clock.read()
        rows = [UpkeepTask(name=task.name, next_at=now + timedelta(seconds=task.every)) for task in new]
        UpkeepTask.objects.bulk_create(rows, ignore_conflicts=True)


def _run(task: Task, go_on: GoOn) -> UpkeepTask:
    """Run one task and note how it ended; what it raises is noted and logged, never raised."""
    row = UpkeepTask.objects.get(name=task.name)
    row.started_at, stopped = clock.read(), False

    def ask() -> bool:
        nonlocal stopped
        stopped = stopped or not go_on()
        return not stopped

    try:
        row.message = task.run(ask)[:300]
        row.outcome = STOPPED if stopped else DONE
    except Exception as error:
        log.exception("upkeep: %s", task.name)
        row.outcome, row.message = FAILED, f"{type(error).__name__}: {error}"[:300].replace("\0", "")
    row.finished_at = clock.read()
    wait = {DONE: task.every, STOPPED: SECONDS_AFTER_A_STOP, FAILED: min(task.every, SECONDS_AFTER_A_FAILURE)}
    row.next_at = row.finished_at + timedelta(seconds=wait[row.outcome])
    row.save(update_fields=["started_at", "finished_at", "next_at", "outcome", "message"])
    return row
