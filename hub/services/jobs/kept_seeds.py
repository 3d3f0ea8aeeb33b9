"""A transfer whose seeds are kept with the adapter: the job and the companion, or neither."""

import io

from django.db import transaction

from hub import access
from hub.access import Viewer
from hub.models import Job, Repository, User
from hub.models.companions import SEEDS
from hub.services.content.companions import add_companion
from hub.services.jobs.queue import queue_job
from hub.services.jobs.request import JobRequest


@transaction.atomic
def queue_keeping_seeds(
    *, actor: User, request: JobRequest, repository: Repository, text: str, idempotency_key: str | None = None
) -> Job:
    """The queued job; its seeds are kept beside `repository`, privately, as seeds/seeds.jsonl.

    Raises what `queue_job` and `add_companion` raise, and PermissionDenied for users who may not write there.
    """
    access.repository(Viewer(user=actor), repository.namespace.name, repository.name, "write")
    job = queue_job(actor=actor, request=request, idempotency_key=idempotency_key)
    add_companion(actor=actor, repository=repository, kind=SEEDS, name="seeds.jsonl", stream=io.BytesIO(text.encode()))
    return job
