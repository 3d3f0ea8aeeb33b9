"""This process as a worker: its name, its cache and loaded bases, and the heartbeat that keeps its job."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from django.conf import settings

from composition.registry import METHODS
from hub.models import Job, JobInput
from hub.services.content.manifest import content_of, manifest_of
from hub.services.jobs import lease
from hub.services.jobs.waiting import bases_of
from workers import bases, devices
from workers.attempt import Attempt
from workers.cache import Cache
from workers.heartbeat import Heartbeat
from workers.models import LoadedBases

MB = 1_000_000


class Worker:
    """What the runner needs from its surroundings; tests make one without Celery."""

    def __init__(self, name: str, queues: Sequence[str]) -> None:
        self.name = name
        self.queues = list(queues)
        self.cache = Cache(settings.WORKER_CACHE, settings.WORKER_CACHE_MB * MB)
        self.models = LoadedBases(settings.WORKER_MODEL_MB * MB)
        self.heartbeat = Heartbeat(self)
        devices.fix_threads()

    @cached_property
    def environment(self) -> dict[str, object]:
        """The facts that, with recipe and inputs, decide the bytes of a result."""
        return devices.environment()

    def facts(self) -> dict[str, object]:
        """What the workers' page shows."""
        return {
            "name": self.name,
            "queues": self.queues,
            "device": devices.device_name(),
            "bases": bases.held_bases(),
            "loaded": self.models.ids(),
            "model_bytes": self.models.budget,
            "environment": self.environment,
            "memory": devices.memory_now(),
        }

    def claim(self, job_id: int) -> Job | None:
        """The job, if no other worker has it and this one can run it; a job that needs other bases is passed on."""
        job = Job.objects.select_related("base").filter(pk=job_id).first()
        if job is None or job.kind not in METHODS or self.heartbeat.stopping.is_set():
            return None
        needed = bases_of(job)
        if METHODS[job.kind].needs.base_model and not (needed and all(map(bases.holds, needed))):
            lease.decline(job_id=job_id, worker=self.name)
            return None
        return lease.claim(job_id, worker=self.name)

    @contextmanager
    def holding(self, attempt: Attempt) -> Iterator[Attempt]:
        """Keep the attempt's lease for the time of the block."""
        attempt.stopping = self.heartbeat.stopping
        self.heartbeat.held = attempt
        try:
            yield attempt
        finally:
            self.heartbeat.held = None

    def input_folder(self, row: JobInput):
        """A local folder with an input's content files, byte for byte as they were when the job was queued."""
        version = row.version
        if version.content_digest != row.digest:
            raise RuntimeError(f"{version} has changed since the job was queued: {row.digest}")
        manifest = manifest_of(version.revisions.order_by("pk").first())
        return self.cache.folder(content_of(version.repository.kind, manifest))


_this: Worker | None = None


def open_this_worker(queues: Sequence[str]) -> Worker:
    """Make the process's one worker. Its name is unique, so that two on one machine are two on the page."""
    global _this
    _this = Worker(f"{socket.gethostname()}-{os.getpid()}", queues)
    return _this


def this_worker() -> Worker:
    """The process's one worker."""
    if _this is None:
        raise RuntimeError("no worker has been opened in this process")
    return _this
