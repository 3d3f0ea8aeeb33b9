"""Models that live workers could load and nobody has registered: what a base may be registered from without a file.

Everyone who is signed in sees what lies in the workers' bases folders and packages. What a worker's Hugging Face cache
holds, and folders that no base's name stands for, are for administrators.
"""

from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet

from hub.models import BaseAlias, BaseModel, WorkerNode, clock, fold


def offers(*, administrator: bool) -> list[dict]:
    """[{"name", "revision", "config", "source", "where", "open"}] by name, each once, of live workers."""
    known = {(fold(name), revision) for name, revision in BaseModel.objects.values_list("name", "revision")}
    aliases = set(BaseAlias.objects.values_list("folded", flat=True))
    found = {(fold(row["name"]), row["revision"]): row for row in reversed(_reported(administrator))}
    left = [row for key, row in found.items() if key not in known and key[0] not in aliases]
    return sorted(left, key=lambda row: (row["name"].lower(), row["revision"]))


def offer_of(name: str, revision: str, *, administrator: bool) -> dict | None:
    """What a live worker holds under this name and revision, registered or not."""
    wanted = (fold(name), revision)
    return next((row for row in _reported(administrator) if (fold(row["name"]), row["revision"]) == wanted), None)


def is_looking() -> bool:
    """Whether a live worker has not said yet what it holds."""
    return _live().filter(offers__isnull=True).exists()


def is_anyone_there() -> bool:
    """Whether a worker lives, to read the shapes of what is registered."""
    return _live().exists()


def _reported(administrator: bool) -> list[dict]:
    rows = _live().filter(offers__isnull=False).order_by("name").values_list("offers", flat=True)
    return [offer for row in rows for offer in row if administrator or offer["open"]]


def _live() -> QuerySet[WorkerNode]:
    since = clock.before(timedelta(seconds=3 * settings.JOB_LEASE_SECONDS))
    return WorkerNode.objects.filter(seen_at__gte=since)
