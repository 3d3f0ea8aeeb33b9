"""Whose turn it is: what a free worker takes up among all that it could run.

A message of the broker is a hint that there is work, not an order. The worker takes the user with the fewest running
jobs, then the one whose last job began the longest ago, and of theirs the oldest; so that fifty jobs of one user keep
nobody waiting for more than one of them. A user's own try-outs come before their other jobs, as somebody sits waiting;
they don't come before other users' jobs, or a stream of them would starve those.

The message of the job that was not taken goes back (`pass_on`), so every waiting job keeps a message of its own.
"""

from collections.abc import Callable, Collection, Iterator, Sequence

from django.db import transaction
from django.db.models import Case, Min, OuterRef, Q, QuerySet, Subquery, When

from composition.registry import METHODS
from hub import broker
from hub.models import Job, State, User
from hub.queries import quota
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.queue import send_later
from hub.services.jobs.scheduling import able_workers
from hub.services.jobs.waiting import bases_of
from hub.services.quotas.limits import lock

# How many of a user's waiting jobs are looked at for one that this worker can run, and how many at a time.
LOOKED_AT, PAGE = 200, 50


def next_job(*, queues: Collection[str], can_run: Callable[[Job], bool], hint: int | None = None) -> Job | None:
    """The waiting job whose turn it is, of these queues or the hinted one, that `can_run` allows; None where none is.

    Nothing is claimed: another worker may be first, and then the caller asks again.
    """
    waiting = Job.objects.filter(Q(queue__in=queues) | Q(pk=hint), state=State.QUEUED, kind__in=METHODS)
    for user in _in_turn(waiting):
        for job in _theirs(waiting, user, hint):
            if can_run(job):
                return job
    return None


def has_room(job_id: int) -> bool:
    """Whether the owner of a job may have one more running. Their row is locked to the end of the transaction."""
    owner = User.objects.filter(jobs=job_id).first()
    if owner is None or not quota.limits_of(owner)["running_jobs"]:
        return True
    lock(owner)
    return not quota.full([owner.pk])


@transaction.atomic
def pass_on(job_id: int, *, worker: str, can_run: Callable[[Job], bool], took_another: bool) -> None:
    """Give back the message of a job that still waits: to its queue, or to a worker that holds the bases it needs.

    Where its owner has as many running as they may, nothing is sent: the end of one of them does it, or the reaper.
    """
    job = Job.objects.select_related("base").filter(pk=job_id, state=State.QUEUED, kind__in=METHODS).first()
    if job is None:
        return
    if can_run(job):
        if took_another:
            send_later(job)
        return
    others = [node for node in able_workers(METHODS[job.kind], bases_of(job), job.queue) if node.name != worker]
    if others:
        idle = next((node for node in others if node.current_job_id is None), others[0])
        send_later(job, broker.direct_queue(idle.name))


def _in_turn(waiting: QuerySet[Job]) -> list[int]:
    """The users with waiting jobs, by id, whose turn is first before the others; without those at their limit."""
    begun = Job.objects.filter(created_by=OuterRef("created_by"), started_at__isnull=False).order_by("-started_at")
    rows = waiting.order_by().values("created_by").annotate(oldest=Min("pk"))
    rows = list(rows.annotate(last=Subquery(begun.values("started_at")[:1])))
    users = [row["created_by"] for row in rows]
    running, full = quota.running(users), quota.full(users)

    def turn(row: dict) -> tuple:
        last = row["last"]
        return running.get(row["created_by"], 0), last is not None, last.timestamp() if last else 0.0, row["oldest"]

    return [row["created_by"] for row in sorted(rows, key=turn) if row["created_by"] not in full]


def _theirs(waiting: QuerySet[Job], user: int, hint: int | None) -> Iterator[Job]:
    """A user's waiting jobs, those that somebody sits waiting for first, then the oldest; the hinted one at last."""
    quick = [kind for kind in METHODS if kind_of(kind).awaited]
    mine = waiting.filter(created_by=user).select_related("base")
    ordered = mine.order_by(Case(When(kind__in=quick, then=0), default=1), "pk")
    for begin in range(0, LOOKED_AT, PAGE):
        page: Sequence[Job] = ordered[begin : begin + PAGE]
        yield from page
        if len(page) < PAGE:
            return
    yield from mine.filter(pk=hint)
