"""Whose turn it is: what a free worker takes up among all that it could run.

A message of the broker is a hint that there is work, not an order. The worker takes the user or namespace with the
fewest running jobs, then the one whose last job began the longest ago: of a user and the namespace that the result goes
to, whichever has had more counts. So fifty jobs of one user keep nobody waiting for more than one of them, and neither
do twenty members of one organisation. Of a user's own jobs the one of the highest priority comes first, then those that
somebody sits waiting for (try-outs), then the oldest. Only jobs that an administrator made urgent pass other users'.

A job whose base another idle worker has in memory is left to that one for a moment, and a worker prefers jobs whose
base it has in memory itself; neither for longer than `WARM_SECONDS` of the time that a job waits.

The message of the job that was not taken goes back, so every waiting job keeps a message of its own.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from django.db import transaction
from django.db.models import Case, F, IntegerField, Max, Min, OuterRef, QuerySet, Subquery, When

from composition.registry import METHODS, beyond, known_versions
from hub import broker, queries
from hub.models import HELD, Job, Namespace, Priority, State, User, WorkerNode, clock
from hub.queries import quota
from hub.services.jobs import reaper
from hub.services.jobs.kinds import kind_of
from hub.services.jobs.lease import claim, due
from hub.services.jobs.queue import announce, send_later
from hub.services.jobs.scheduling import Need, able
from hub.services.jobs.waiting import settle, settle_waiting

# How many of a user's waiting jobs are looked at.
PAGE = 50
# How many jobs a worker tries where others are first, or where what was chosen can't be claimed.
TRIES = 20
# How long a job may be passed over because its base is in memory elsewhere, or another's is here.
WARM_SECONDS = 10.0
# A job that somebody sits waiting for comes before its owner's others of the same priority.
AWAITED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Taker:
    """A worker that asks for a job: the queues it reads, which of some bases' ids it holds, and those in its memory."""

    worker: str
    queues: Collection[str]
    holds: Callable[[Collection[int]], Collection[int]]
    loaded: Collection[int] = frozenset()

    @property
    def is_apart(self) -> bool:
        """True for one that reads none of the common queues: it takes only what is sent to it by name."""
        return not {broker.CPU, broker.GPU} & set(self.queues)


def take(taker: Taker, hint: int | None = None) -> Job | None:
    """The job whose turn it is, claimed for this worker; None if there is none. `hint` is the job whose message came.

    The message of a hinted job that still waits goes back, or to a worker that can run it.
    """
    taken, found = None, False
    look = _Look(taker)
    for job_id in islice(look.candidates(hint), TRIES):
        found = True
        if taken := claim(job_id, worker=taker.worker):
            break
    if hint is not None and (taken is None or taken.pk != hint):
        _pass_on(hint, look, took_another=found)
    return taken


def next_job(taker: Taker) -> int | None:
    """The id of the waiting job whose turn it is, of those this worker can run. Nothing is claimed."""
    return next(_Look(taker).candidates(), None)


def is_overlooked(taker: Taker) -> bool:
    """Whether something waits that this worker can run and no message may bring; for one that is idle."""
    if taker.is_apart:
        return False
    needs = set(reaper.overlooked().order_by().values_list("need", flat=True).distinct())
    return bool(needs) and ("" in needs or bool(_Look(taker).runnable(needs)))


def wait(job_id: int, reason: str) -> None:
    """Say on a queued job why the worker that got its message doesn't take it; the reaper sends it again."""
    if Job.objects.filter(pk=job_id, state=State.QUEUED).exclude(message=reason[:300]).update(message=reason[:300]):
        announce(Job.objects.get(pk=job_id))


@transaction.atomic
def _pass_on(job_id: int, look: "_Look", *, took_another: bool) -> None:
    """Give back the message of a job that still waits: to its queue, or to a worker that should take it.

    Where its owner has as many running as they may, nothing is sent: the end of one of them does it, or the reaper.
    """
    job = due().filter(pk=job_id, kind__in=METHODS).first()
    if job is None:
        return
    settle([job])
    need = Need.read(job.need)
    better = look.better(need, job.created_at)
    if look.runnable([job.need]) and not better and not beyond(job.kind, job.recipe):
        if took_another:
            send_later(job)
        return
    reading = [node for node in look.workers() if node.can_read(job.kind, job.recipe.get("version"))]
    others = better or [node for node in able(need, reading) if node.name != look.taker.worker]
    if others:
        idle = next((node for node in others if node.current_job_id is None), others[0])
        send_later(job, broker.direct_queue(idle.name))


@dataclass(slots=True)
class _Look:
    """One look at all that waits, for one worker; what it has read is kept for its time."""

    taker: Taker
    _workers: list[WorkerNode] | None = None
    _held: dict[int, bool] = field(default_factory=dict)

    def candidates(self, hint: int | None = None) -> Iterator[int]:
        """The ids of waiting jobs that this worker should run, in their turn: one of each user, then their second, …"""
        waiting = due().filter(kind__in=METHODS)
        if self.taker.is_apart:
            waiting = waiting.filter(pk=hint)
        needs = set(waiting.order_by().values_list("need", flat=True).distinct())
        if "" in needs:
            settle_waiting()
            needs = set(waiting.order_by().values_list("need", flat=True).distinct())
        if mine := self.runnable(needs - {""}):
            waiting = waiting.filter(need__in=mine)
            lines = [self._line(waiting, *whose) for whose in in_turn(waiting)]
            while lines:
                # One of each, then the second of each, and so on.
                for line in tuple(lines):
                    if job_id := next(line, None):
                        yield job_id
                    else:
                        lines.remove(line)

    def runnable(self, needs: Collection[str]) -> list[str]:
        """Those of the needs that this worker meets, and that are not left to workers with a GPU."""
        read = {text: Need.read(text) for text in needs}
        self._look_for({pk for need in read.values() for pk in need.bases or ()})
        held = {pk for pk, holds in self._held.items() if holds}
        return [text for text, need in read.items() if need.held_by(held) and self._may(need)]

    def better(self, need: Need, since: datetime) -> list[WorkerNode]:
        """Idle workers that have the bases in memory, where this one has not, while the job hasn't waited long."""
        if not need.bases or need.held_by(self.taker.loaded) or _age(since) > WARM_SECONDS:
            return []
        warm = [node for node in able(need, self.workers()) if need.held_by(node.loaded) and not node.current_job_id]
        return [node for node in warm if node.name != self.taker.worker]

    def workers(self) -> list[WorkerNode]:
        """The live workers."""
        if self._workers is None:
            self._workers = list(queries.live_workers())
        return self._workers

    def _may(self, need: Need) -> bool:
        if need.device in self.taker.queues or self.taker.is_apart:
            return True
        if broker.CPU not in self.taker.queues:
            return False
        # Nothing is left to workers of an earlier release, which may not know it.
        same = [node for node in self.workers() if _reads_as_much(node)]
        return not any(need.device in node.queues for node in able(need, same))

    def _look_for(self, bases: Collection[int]) -> None:
        if new := set(bases) - self._held.keys():
            held = self.taker.holds(new)
            self._held |= {pk: pk in held for pk in new}

    def _line(self, waiting: QuerySet[Job], user: int | None, namespace: int | None) -> Iterator[int]:
        """The user's waiting jobs in this namespace, in their order."""
        mine = waiting.filter(created_by=user, output_namespace=namespace).annotate(rank=_rank())
        names = ("pk", "need", "rank", "created_at", "kind", "recipe")
        rows = list(mine.order_by("-rank", "pk").values_list(*names)[:PAGE])
        # What a later release has put there is left to its workers.
        rows = [row[:4] for row in rows if not beyond(*row[4:])]
        if rows and rows[0][1] and _age(rows[0][3]) < WARM_SECONDS:
            # One as urgent whose bases are in memory here comes first; the sort keeps the order of the others.
            first = rows[0][2]
            rows.sort(key=lambda row: not (row[2] == first and self._is_warm(row[1])))
        for job_id, need, _, since in rows:
            if not self.better(Need.read(need), since):
                yield job_id

    def _is_warm(self, need: str) -> bool:
        wanted = Need.read(need)
        return bool(wanted.bases) and wanted.held_by(self.taker.loaded)


def in_turn(waiting: QuerySet[Job]) -> list[tuple[int | None, int | None]]:
    """(user, namespace) of those with waiting jobs, the one whose turn it is first; without users at their limit."""
    rows = waiting.order_by().values_list("created_by", "output_namespace")
    rows = list(rows.annotate(oldest=Min("pk"), rank=Max(_rank())))
    users, places = {row[0] for row in rows}, {row[1] for row in rows} - {None}
    running = _running()
    limits = quota.limits_on_running(users)
    full = {user for user, most in limits.items() if most and running.get((User, user), 0) >= most}
    begun = {(User, pk): when for pk, when in _last_begun(User, "created_by", users)}
    begun |= {(Namespace, pk): when for pk, when in _last_begun(Namespace, "output_namespace", places)}
    highest: dict[int | None, int] = {}
    for user, _, _, rank in rows:
        highest[user] = max(rank, highest.get(user, rank))

    def turn(row: tuple) -> tuple:
        user, place, oldest, rank = row
        both = (User, user), (Namespace, place)
        had = sorted((running.get(one, 0) for one in both), reverse=True)
        last = sorted((begun[one].timestamp() if begun.get(one) else 0.0 for one in both), reverse=True)
        return rank < Priority.URGENT, had[0], *last, oldest

    own = [row for row in rows if row[0] not in full and row[3] == highest[row[0]]]
    return [(user, place) for user, place, _, _ in sorted(own, key=turn)]


def _running() -> dict[tuple, int]:
    """(User or Namespace, id) → jobs that workers hold for it now."""
    found: dict[tuple, int] = {}
    for user, place in Job.objects.filter(state__in=HELD).values_list("created_by", "output_namespace"):
        for one in ((User, user), (Namespace, place)):
            if one[1] is not None:
                found[one] = found.get(one, 0) + 1
    return found


def _last_begun(model: type, column: str, ids: Collection[int]) -> Sequence[tuple[int, datetime | None]]:
    """(id, when a job of theirs last began)."""
    begun = Job.objects.filter(started_at__isnull=False, **{column: OuterRef("pk")}).order_by("-started_at")
    rows = model.objects.filter(pk__in=ids).annotate(last=Subquery(begun.values("started_at")[:1]))
    return rows.values_list("pk", "last") if ids else []


def _rank() -> Case:
    """A job's priority among its owner's."""
    awaited = [kind for kind in METHODS if kind_of(kind).awaited]
    awaited_first = When(kind__in=awaited, then=F("priority") + AWAITED)
    return Case(awaited_first, default=F("priority"), output_field=IntegerField())


def _reads_as_much(node: WorkerNode) -> bool:
    """Whether a worker can run what this release can."""
    ours = known_versions().items()
    return node.knows is None or all(set(versions) <= set(node.knows.get(kind, ())) for kind, versions in ours)


def _age(since: datetime) -> float:
    return (clock.read() - since) / timedelta(seconds=1)
