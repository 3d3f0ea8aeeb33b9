"""The hub in figures, for `/metrics`: jobs, queues, workers, storage.

Counting a large hub takes a moment, so the figures are kept for `SECONDS_KEPT`, however often they are asked for.
"""

import shutil
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db.models import BooleanField, Case, Count, Min, Sum, When

from hub.models import FINAL, HELD, Blob, Job, Outbox, Repository, State, Upload, User, clock
from hub.queries.worker import live_workers

SECONDS_KEPT = 15.0
NEEDS = ("cpu", "gpu")
MEMORY = ("process", "device_used", "device_total")


@dataclass(frozen=True, slots=True)
class Figure:
    """A gauge: its name, what it tells, the names of its labels, and (labels, value) rows."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    rows: list[tuple[tuple[str, ...], float]] = field(default_factory=list)


_lock = threading.Lock()
_kept: tuple[float, list[Figure]] = (0.0, [])


def figures() -> list[Figure]:
    """All figures, at most `SECONDS_KEPT` old."""
    global _kept
    with _lock:
        until, found = _kept
        if time.monotonic() >= until:
            found = [*_of_jobs(), *_of_workers(), *_of_storage()]
            _kept = (time.monotonic() + SECONDS_KEPT, found)
    return found


def forget() -> None:
    """Count anew when they are asked for next."""
    global _kept
    _kept = (0.0, [])


def _of_jobs() -> list[Figure]:
    states = dict.fromkeys(State.values, 0) | dict(Job.objects.values_list("state").annotate(Count("pk")))
    active = Job.objects.exclude(state__in=FINAL).values_list("kind", "state").annotate(Count("pk"))
    oldest = Job.objects.filter(state=State.QUEUED).values_list("queue").annotate(Min("created_at"))
    needs = _needs()
    waiting = Outbox.objects.filter(sent_at=None).aggregate(Count("pk"), Min("created_at"))
    return [
        Figure("hub_jobs", "Jobs by state.", ("state",), [((state,), count) for state, count in states.items()]),
        Figure("hub_jobs_active", "Jobs not over, by kind.", ("kind", "state"), [((k, s), n) for k, s, n in active]),
        Figure(
            "hub_queue_age_seconds",
            "Since the oldest queued job was asked for.",
            ("queue",),
            [((queue,), _age(since)) for queue, since in oldest],
        ),
        *needs,
        Figure("hub_outbox_waiting", "Side effects not sent yet.", rows=[((), waiting["pk__count"])]),
        Figure("hub_outbox_age_seconds", "Of the oldest.", rows=[((), _age(waiting["created_at__min"]))]),
    ]


def _needs() -> list[Figure]:
    """What an autoscaler asks: jobs that wait for a worker now, those at work and those put off, by what they need."""
    rows = Job.objects.filter(state__in=(State.QUEUED, *HELD)).order_by()
    off = Case(
        When(state=State.QUEUED, lease_until__gt=clock.now(), then=True), default=False, output_field=BooleanField()
    )
    rows = rows.annotate(off=off).values_list("need", "queue", "state", "off").annotate(Count("pk"), Min("created_at"))
    found: dict[str, dict[str, float]] = {
        one: dict.fromkeys(NEEDS, 0.0) for one in ("waiting", "age", "running", "off")
    }
    for need, queue, state, off, count, since in rows:
        device = need.partition(":")[0] or queue
        what = "running" if state != State.QUEUED else "off" if off else "waiting"
        found[what][device] = found[what].get(device, 0.0) + count
        if what == "waiting":
            found["age"][device] = max(found["age"].get(device, 0.0), _age(since))
    told = {
        "waiting": ("hub_jobs_waiting", "Jobs that a worker could take now, by what they are best run on."),
        "age": ("hub_jobs_waiting_seconds", "Since the oldest of them was asked for."),
        "running": ("hub_jobs_running", "Jobs that workers hold, by what they are best run on."),
        "off": ("hub_jobs_put_off", "Jobs that wait for a fault to pass."),
    }
    return [
        Figure(name, help, ("need",), [((device,), number) for device, number in sorted(found[what].items())])
        for what, (name, help) in told.items()
    ]


def _of_workers() -> list[Figure]:
    workers = list(live_workers())
    memory = [
        ((node.name, what), float(node.memory[what])) for node in workers for what in MEMORY if what in node.memory
    ]
    return [
        Figure("hub_workers", "Workers heard of lately.", rows=[((), len(workers))]),
        Figure(
            "hub_workers_busy", "Those with a job.", rows=[((), sum(bool(node.current_job_id) for node in workers))]
        ),
        Figure(
            "hub_workers_by_need",
            "Workers that take jobs of a need, by whether they have one.",
            ("need", "state"),
            [
                ((need, state), sum(need in node.queues and bool(node.current_job_id) == busy for node in workers))
                for need in NEEDS
                for state, busy in (("busy", True), ("idle", False))
            ],
        ),
        Figure(
            "hub_worker_seen_seconds",
            "Since the worker was last heard of.",
            ("worker", "device"),
            [((node.name, node.device), _age(node.seen_at)) for node in workers],
        ),
        Figure("hub_worker_memory_bytes", "Memory of the worker and of its GPU.", ("worker", "what"), memory),
    ]


def _of_storage() -> list[Figure]:
    blobs = Blob.objects.aggregate(Count("pk"), Sum("size"))
    open_uploads = Upload.objects.filter(committed_at=None)
    staged = open_uploads.aggregate(Count("pk", distinct=True), Sum("files__received"))
    kinds = Repository.objects.filter(deleted_at=None).values_list("kind").annotate(Count("pk"))
    return [
        Figure("hub_blobs", "Stored files, each once.", rows=[((), blobs["pk__count"])]),
        Figure("hub_blob_bytes", "Bytes of stored files.", rows=[((), blobs["size__sum"] or 0)]),
        Figure("hub_uploads_open", "Uploads under way.", rows=[((), staged["pk__count"])]),
        Figure("hub_upload_bytes", "Bytes of theirs that are here.", rows=[((), staged["files__received__sum"] or 0)]),
        Figure("hub_repositories", "Repositories.", ("kind",), [((kind,), count) for kind, count in kinds]),
        Figure("hub_users", "Accounts that may sign in.", rows=[((), User.objects.filter(is_active=True).count())]),
        Figure("hub_disk_free_bytes", "Of the data folder.", rows=[((), shutil.disk_usage(settings.HUB_DATA).free)]),
    ]


def _age(since: datetime | None) -> float:
    return max(0.0, (clock.read() - since).total_seconds()) if since else 0.0
