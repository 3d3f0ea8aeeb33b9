"""The reaper: takes back what silent workers held, calls workers to what waits, forgets dead workers.

One process of all machines does it at a time, twice a lease: whoever takes the row `reaper` first. It runs beside the
renewal of leases, in a thread or a process of its own, so that it may be slow. Each round costs the same few queries
however many jobs wait. A message only says that there is work (`turns`), so a round sends no more of them than there
are workers to hear them, into the queue that all of them read: what a broker has lost is spread over all workers.
"""

import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import timedelta

from django.conf import settings
from django.db.models import Count, F, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from composition.registry import METHODS
from hub import broker
from hub.models import HELD, Job, State, UpkeepTask, WorkerNode, clock
from hub.queries import quota
from hub.services.jobs import lease
from hub.services.jobs.scheduling import Need, able
from hub.services.jobs.waiting import settle_waiting

REAPER = "reaper"
DAYS_TO_REMEMBER_WORKERS = 1
# What one round takes back at most; the next round takes the rest, at once.
TAKEN_BACK_AT_ONCE = 50
# More need no message: an idle worker that hears nothing looks in the database every few seconds.
CALLED_AT_ONCE = 10


def is_due() -> bool:
    """True where a round's time has come and nobody is at it."""
    return not UpkeepTask.objects.filter(name=REAPER, lease_until__gt=clock.now()).exists()


def run_due() -> list[int] | None:
    """One round, if its time has come and nobody else is at it: ids of the jobs touched, or None.

    The row is held for two leases, so that a reaper that dies at its work is followed by another.
    """
    lease_time, holder = timedelta(seconds=settings.JOB_LEASE_SECONDS), uuid.uuid4().hex
    free = UpkeepTask.objects.filter(Q(lease_until=None) | Q(lease_until__lte=clock.now()), name=REAPER)
    held = {"lease_until": clock.after(2 * lease_time), "holder": holder}
    if not free.update(**held):
        new = UpkeepTask.objects.bulk_create([UpkeepTask(name=REAPER)], ignore_conflicts=True) if not _known() else []
        if not new or not free.update(**held):
            return None
    touched, more = [], False
    try:
        touched, more = _round()
    finally:
        again = clock.now() if more else clock.after(lease_time / 2)
        UpkeepTask.objects.filter(name=REAPER, holder=holder).update(lease_until=again, holder="")
    return touched


def reap() -> list[int]:
    """One round, whoever else is at it; the ids of the jobs touched. What it writes is fenced, so two do no harm."""
    return _round()[0]


def overlooked() -> QuerySet[Job]:
    """Queued jobs that no message may bring: never sent, or sent half a lease ago and not taken since."""
    patience = clock.before(timedelta(seconds=settings.JOB_LEASE_SECONDS / 2))
    unsent = Q(sent_at=None) | Q(sent_at__lte=patience)
    return lease.due().filter(unsent, kind__in=METHODS)


def _round() -> tuple[list[int], bool]:
    """(ids of the jobs touched, whether there is more to take back at once)."""
    dead = Job.objects.filter(state__in=HELD, lease_until__lt=clock.now()).order_by("lease_until")
    dead = list(dead.values_list("pk", "attempt")[:TAKEN_BACK_AT_ONCE])
    touched = [job_id for job_id, attempt in dead if lease.take_back(job_id, attempt)]
    touched += [job_id for job_id in _call(_living()) if job_id not in touched]
    return touched, len(dead) == TAKEN_BACK_AT_ONCE


def _living() -> list[WorkerNode]:
    """The workers heard of within three leases; those of yesterday are forgotten."""
    living, now = [], clock.read()
    for node in WorkerNode.objects.only("name", "queues", "bases", "current_job", "seen_at").order_by("pk"):
        if node.seen_at < now - timedelta(days=DAYS_TO_REMEMBER_WORKERS):
            broker.forget_worker(node.name)
            node.delete()
        elif node.seen_at > now - timedelta(seconds=3 * settings.JOB_LEASE_SECONDS):
            living.append(node)
    return living


def _call(workers: Sequence[WorkerNode]) -> list[int]:
    """Send a few of the overlooked jobs' ids, as many as there are workers that don't hear of any; the ids sent."""
    rows = _waiting()
    if any(not need for need, _ in rows):
        settle_waiting()
        rows = _waiting()
    full = quota.full({user for _, user in rows}) if rows else set()
    counts = Counter()
    for (need, user), count in rows.items():
        if need and user not in full:
            counts[need] += count
    places: dict[str, list[str]] = {}
    room: Counter[str] = Counter()
    for need, count in counts.items():
        for queue, most in _queues(Need.read(need), workers):
            places.setdefault(queue, []).append(need)
            room[queue] = min(room[queue] + count, most)
    there = broker.depths(list(room)) if room else None
    lacking = {queue: room[queue] - there[queue] for queue in room if room[queue] > there[queue]} if there else {}
    if not lacking:
        return []
    found = _first_of(
        {need for queue in lacking for need in places[queue]}, full, min(sum(lacking.values()), CALLED_AT_ONCE)
    )
    sent = []
    for queue, number in lacking.items():
        for _ in range(number):
            ids = next((found[need] for need in places[queue] if found[need]), None)
            if not ids or len(sent) == CALLED_AT_ONCE or not broker.send(ids[0], queue):
                break
            sent.append(ids.pop(0))
    Job.objects.filter(pk__in=sent, state=State.QUEUED).update(sent_at=clock.now())
    return sent


def _first_of(needs: Collection[str], full: Collection[int], number: int) -> dict[str, list[int]]:
    """need → the ids of its overlooked jobs that nobody was told of for the longest time, at most so many of each."""
    longest = [F("sent_at").asc(nulls_first=True), F("pk").asc()]
    ranked = overlooked().filter(need__in=needs).exclude(created_by__in=full)
    ranked = ranked.annotate(place=Window(RowNumber(), partition_by="need", order_by=longest))
    found: dict[str, list[int]] = {need: [] for need in needs}
    for need, job_id in ranked.filter(place__lte=number).order_by("place").values_list("need", "pk"):
        found[need].append(job_id)
    return found


def _known() -> bool:
    return UpkeepTask.objects.filter(name=REAPER).exists()


def _waiting() -> dict[tuple[str, int], int]:
    """(need, user) → how many overlooked jobs."""
    rows = overlooked().order_by().values_list("need", "created_by").annotate(Count("pk"))
    return {(need, user): count for need, user, count in rows}


def _queues(need: Need, workers: Sequence[WorkerNode]) -> list[tuple[str, int]]:
    """[(queue, most messages in it)] that bring such a job to those who may take it.

    That is the queue they all read; where others read it too who can't take it, the queue of each of them alone, the
    idle ones first.
    """
    takers = able(need, workers)
    if not takers:
        # Nobody has shown itself yet: whoever starts will read the queue. Where its bases are missing, a message would
        # go in circles; a worker that brings them finds the job in the database.
        return [(need.device, 1)] if need.bases == () and not workers else []
    device = need.device if any(need.device in worker.queues for worker in takers) else broker.CPU
    if len(takers) == sum(device in worker.queues for worker in workers):
        return [(device, len(takers))]
    takers.sort(key=lambda worker: worker.current_job_id is not None)
    return [(broker.direct_queue(worker.name), 1) for worker in takers]
