"""This process as a worker: its name, its cache and loaded bases, and the heartbeat that keeps its job."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from django.conf import settings

from composition.registry import beyond, known_versions
from hub import disk
from hub.models import Job, JobInput, State, Version
from hub.names import worker_name
from hub.services.content.manifest import Entry, Manifest, content_of, manifest_of
from hub.services.jobs import turns
from hub.services.jobs.scheduling import Need
from workers import bases, devices
from workers.attempt import Attempt
from workers.cache import Cache
from workers.checkpoints.carrier import Carrier
from workers.heartbeat import Heartbeat
from workers.listening.watch import Watch
from workers.models import LoadedBases
from workers.offers import Offers
from workers.patience import R, patiently
from workers.weights import stored

MB = 1_000_000
# How many waiting jobs are looked at for one that this release does not know.
LOOKED_AT = 100

log = logging.getLogger(__name__)


class Worker:
    """What the runner needs from its surroundings; tests make one without Celery."""

    def __init__(self, name: str, queues: Sequence[str], *, host: str = "") -> None:
        self.name = name
        self.host = host
        self.queues = list(queues)
        self.cache = Cache(settings.WORKER_CACHE, settings.WORKER_CACHE_MB * MB)
        self.models = LoadedBases(settings.WORKER_MODEL_MB * MB)
        # Whoever runs a job has the turn: the main thread, or the search.
        self.turn = threading.Lock()
        self.has_message = False
        self.watch = Watch(self)
        self.heartbeat = Heartbeat(self)
        self.offers = Offers(self.heartbeat.soon)
        self.carrier = Carrier()
        devices.fix_threads()

    @cached_property
    def environment(self) -> dict[str, object]:
        """The facts that, with recipe and inputs, decide the bytes of a result."""
        return devices.environment()

    def facts(self) -> dict[str, object]:
        """What the workers' page shows."""
        return {
            "name": self.name,
            "host": self.host,
            "queues": self.queues,
            "device": devices.device_name(),
            "bases": bases.held_bases(),
            "loaded": self.models.ids(),
            "offers": self.offers.latest(),
            "model_bytes": self.models.budget,
            "environment": self.environment,
            "memory": devices.memory_now(),
            "trouble": self.watch.trouble or self._left_to_others(),
            "knows": known_versions(),
        }

    def claim(self, job_id: int | None = None) -> Job | None:
        """The job whose turn it is among those this worker can run; `job_id`, whose message came, is a hint."""
        if self.heartbeat.stopping.is_set():
            return None
        if reason := disk.low(self.cache.root):
            if job_id is not None:
                turns.wait(job_id, reason)
            return None
        return turns.take(self.taker(), hint=job_id)

    def taker(self) -> turns.Taker:
        """What decides which jobs this worker may take."""
        return turns.Taker(worker=self.name, queues=self.queues, holds=bases.held_of, loaded=self.models.ids())

    def _left_to_others(self) -> str:
        """What waits that only a worker of a later release can do, as a sentence; "" where nothing does."""
        waiting = Job.objects.filter(state=State.QUEUED).order_by("pk").values_list("pk", "kind", "recipe")
        for pk, kind, recipe in waiting[:LOOKED_AT]:
            if unknown := beyond(kind, recipe):
                return f"Leaves job {pk} to others: this worker's release does not know {unknown}."
        return ""

    def is_busy(self) -> bool:
        """True while a job runs, or the main thread handles a message."""
        return self.turn.locked() or self.has_message

    @contextmanager
    def holding(self, attempt: Attempt) -> Iterator[Attempt]:
        """Keep the attempt's lease, and what it uses of the cache, for the time of the block."""
        attempt.stopping = self.heartbeat.stopping
        self.heartbeat.held = attempt
        # Who is idle with a base in memory decides where the next job that reads it goes.
        reads_bases = bool(attempt.job.need and Need.read(attempt.job.need).bases)
        if reads_bases:
            self.heartbeat.soon()
        try:
            yield attempt
        finally:
            self.carrier.end()
            self.heartbeat.held = None
            self.cache.let_go()
            stored.let_go()
            if reads_bases:
                self.heartbeat.soon()

    def input_folder(self, row: JobInput) -> Path:
        """A local folder with an input's content files, byte for byte as they were when the job was queued."""
        version = row.version
        if version.content_digest != row.digest:
            raise RuntimeError(f"{version} has changed since the job was queued: {row.digest}")
        return self._patiently(lambda: self.cache.folder(self._content_of(version)))

    def folder_of(self, files: Mapping[str, Entry]) -> Path:
        """A local folder with these files of the store, as `Cache.folder` makes it."""
        return self._patiently(lambda: self.cache.folder(files))

    def _content_of(self, version: Version) -> Manifest:
        return content_of(version.repository.kind, manifest_of(version.revision))

    def _patiently(self, call: Callable[[], R]) -> R:
        """Call, and outlast the faults of database and store as the job at work does."""
        held = self.heartbeat.held
        return held.write(call) if held is not None else patiently(self.heartbeat.stopping, call)


_this: Worker | None = None


def open_this_worker(queues: Sequence[str]) -> Worker:
    """Make the process's one worker. Its name is unique, so that two on one machine are two on the page."""
    global _this
    host = f"{socket.gethostname()}-{os.getpid()}"
    _this = Worker(worker_name(host), queues, host=host)
    log.info("%s is %s", _this.name, host)
    return _this


def this_worker() -> Worker:
    """The process's one worker."""
    if _this is None:
        raise RuntimeError("no worker has been opened in this process")
    return _this
