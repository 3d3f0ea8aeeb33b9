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
from hub.services.jobs.lease import claim, due
from hub.services.jobs.queue import announce, send_later
from hub.services.jobs.scheduling import able_workers
from hub.services.jobs.waiting import adapters, bases_of

# How many of a user's waiting jobs are looked at for one that this worker can run, and how many at a time.
LOOKED_AT, PAGE = 200, 50
# How often a worker looks again when another was first with the job it chose.
TRIES = 20


def take(
    *, worker: str, queues: Collection[str], can_run: Callable[[Job], bool], hint: int | None = None
) -> Job | None:
    """The job whose turn it is, claimed for this worker; None if there is none. `hint` is the job whose message came.

    The message of a hinted job that still waits goes back, or to a worker that holds the bases it needs.
    """
    job = taken = None
    for _ in range(TRIES):
        job = next_job(queues=queues, can_run=can_run, hint=hint)
        if job is None or (taken := claim(job.pk, worker=worker)):
            break
    if hint is not None and (taken is None or taken.pk != hint):
        pass_on(hint, worker=worker, can_run=can_run, took_another=job is not None)
    return taken


def next_job(*, queues: Collection[str], can_run: Callable[[Job], bool], hint: int | None = None) -> Job | None:
    """The waiting job whose turn it is, of these queues or the hinted one, that `can_run` allows; None where none is.

    Nothing is claimed: another worker may be first, and then the caller asks again.
    """
    waiting = due().filter(Q(queue__in=queues) | Q(pk=hint), kind__in=METHODS)
    for user in _in_turn(waiting):
        for job in _theirs(waiting, user, hint):
            if can_run(job):
                return job
    return None


def wait(job_id: int, reason: str) -> None:
    """Say on a queued job why the worker that got its message doesn't take it; the reaper sends it again."""
    if Job.objects.filter(pk=job_id, state=State.QUEUED).exclude(message=reason[:300]).update(message=reason[:300]):
        announce(Job.objects.get(pk=job_id))


@transaction.atomic
def pass_on(job_id: int, *, worker: str, can_run: Callable[[Job], bool], took_another: bool) -> None:
    """Give back the message of a job that still waits: to its queue, or to a worker that holds the bases it needs.

    Where its owner has as many running as they may, nothing is sent: the end of one of them does it, or the reaper.
    """
    job = due().select_related("base").filter(pk=job_id, kind__in=METHODS).first()
    if job is None:
        return
    if can_run(job):
        if took_another:
            send_later(job)
        return
    others = [
        node
        for node in able_workers(METHODS[job.kind], bases_of(job), job.queue, job.recipe.get("version"))
        if node.name != worker
    ]
    if others:
        idle = next((node for node in others if node.current_job_id is None), others[0])
        send_later(job, broker.direct_queue(idle.name))


def _in_turn(waiting: QuerySet[Job]) -> list[int]:
    """The users with waiting jobs, by id, whose turn is first before the others; without those at their limit."""
    oldest = dict(waiting.order_by().values_list("created_by").annotate(oldest=Min("pk")))
    begun = Job.objects.filter(created_by=OuterRef("pk"), started_at__isnull=False).order_by("-started_at")
    last = User.objects.filter(pk__in=oldest).annotate(last=Subquery(begun.values("started_at")[:1]))
    last = dict(last.values_list("pk", "last"))
    running, full = quota.running(oldest), quota.full(oldest)

    def turn(user: int) -> tuple:
        return running.get(user, 0), last[user].timestamp() if last.get(user) else 0.0, oldest[user]

    return sorted(set(oldest) - full, key=turn)


def _theirs(waiting: QuerySet[Job], user: int, hint: int | None) -> Iterator[Job]:
    """A user's waiting jobs, those that somebody sits waiting for first, then the oldest; the hinted one at last."""
    quick = [kind for kind in METHODS if kind_of(kind).awaited]
    mine = waiting.filter(created_by=user).select_related("base").prefetch_related(adapters())
    ordered = mine.order_by(Case(When(kind__in=quick, then=0), default=1), "pk")
    for begin in range(0, LOOKED_AT, PAGE):
        page: Sequence[Job] = ordered[begin : begin + PAGE]
        yield from page
        if len(page) < PAGE:
            return
    yield from mine.filter(pk=hint)
