"""Asking for jobs in tests: the parts of a request by name, as a `JobRequest`, to the service."""

from hub.models import ADAPTER, Job, User
from hub.services.jobs import queue, report
from hub.services.jobs.request import JobRequest


def request_of(*, kind: str, inputs=(), datasets=(), others=None, keep=(), **rest) -> JobRequest:
    """The request; `others` is role → version of inputs with a role of their own."""
    roles = {ADAPTER: tuple(inputs), **{role: (version,) for role, version in (others or {}).items()}}
    given = {role: versions for role, versions in roles.items() if versions}
    rest = {name: value for name, value in rest.items() if value is not None}
    return JobRequest(kind=kind, inputs=given, datasets=tuple(datasets), keep=tuple(keep), **rest)


def queue_job(*, actor: User, idempotency_key: str | None = None, **asked) -> Job:
    """The queued job."""
    return queue.queue_job(actor=actor, request=request_of(**asked), idempotency_key=idempotency_key)


def check_job(*, actor: User, **asked) -> dict:
    """The dry run."""
    return report.check_job(actor=actor, request=request_of(**asked))
