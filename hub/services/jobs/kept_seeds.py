"""A transfer whose seeds are kept with the adapter: the job and the companion, or neither."""

import hashlib
import io
from collections.abc import Container
from itertools import count

from django.db import transaction

from hub import access
from hub.access import Viewer
from hub.models import Companion, Job, Repository, User
from hub.models.companions import SEEDS
from hub.services.content.companions import add_companion
from hub.services.jobs.queue import queue_job
from hub.services.jobs.request import JobRequest


@transaction.atomic
def queue_keeping_seeds(
    *, actor: User | Viewer, request: JobRequest, repository: Repository, text: str, idempotency_key: str | None = None
) -> Job:
    """The queued job; its seeds are kept beside `repository`, privately, under a free name; once, however often asked.

    Raises what `queue_job` and `add_companion` raise, and PermissionDenied for users who may not write there.
    """
    viewer = access.acting(actor)
    access.repository(viewer, repository.place, repository.name, "write")
    known = idempotency_key and Job.objects.filter(created_by=viewer.user, idempotency_key=idempotency_key).exists()
    job = queue_job(actor=actor, request=request, idempotency_key=idempotency_key)
    data = text.encode()
    kept = dict(Companion.objects.filter(repository=repository, kind=SEEDS).values_list("name", "blob"))
    if not known and hashlib.sha256(data).hexdigest() not in kept.values():
        add_companion(actor=viewer.user, repository=repository, kind=SEEDS, name=_free(kept), stream=io.BytesIO(data))
    return job


def _free(names: Container[str]) -> str:
    """seeds.jsonl, or the first of seeds-2.jsonl, seeds-3.jsonl … that replaces nothing."""
    if "seeds.jsonl" not in names:
        return "seeds.jsonl"
    return next(name for number in count(2) if (name := f"seeds-{number}.jsonl") not in names)
