"""How workers make themselves known: one row each, renewed while they live."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from hub import broker
from hub.models import WorkerNode, clock


def report_worker(
    *,
    name: str,
    host: str = "",
    queues: Sequence[str],
    device: str,
    bases: Sequence[int],
    loaded: Sequence[int],
    offers: Sequence[Mapping[str, object]] | None = None,
    model_bytes: int = 0,
    environment: dict,
    memory: Mapping[str, int] = MappingProxyType({}),
    current_job: int | None,
    started_at,
    trouble: str = "",
    knows: Mapping[str, Sequence[int]] | None = None,
) -> None:
    """Record that worker `name` is alive, and what it reads, holds and does, and what is wrong with it.

    `offers` are the models that it could load, with their configs: what may be registered as a base without one. None
    is that it doesn't know yet. `knows` are the kinds of jobs it can run, with the versions of their recipes.
    """
    WorkerNode.objects.update_or_create(
        name=name,
        defaults={
            "host": host[:200],
            "queues": list(queues),
            "device": device[:100],
            "bases": list(bases),
            "loaded": list(loaded),
            "offers": None if offers is None else list(offers),
            "model_bytes": model_bytes,
            "environment": environment,
            "memory": dict(memory),
            "current_job_id": current_job,
            "started_at": started_at,
            "trouble": trouble[:200],
            "knows": None if knows is None else {kind: list(versions) for kind, versions in knows.items()},
            "seen_at": clock.now(),
        },
    )


def forget_worker(*, name: str) -> None:
    """Take a stopped worker off the page, and its queue out of the broker."""
    WorkerNode.objects.filter(name=name).delete()
    broker.forget_worker(name)
