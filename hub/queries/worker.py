"""Workers by when they were last heard of."""

from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet

from hub.models import (
    WorkerNode,
    clock,
)


def live_workers() -> QuerySet[WorkerNode]:
    """Workers heard of within three leases."""
    since = clock.before(timedelta(seconds=3 * settings.JOB_LEASE_SECONDS))
    found = WorkerNode.objects.filter(seen_at__gte=since).defer("offers")
    return found.select_related("current_job").order_by("name")


def workers() -> QuerySet[WorkerNode]:
    """Workers of the last day, the living first."""
    since = clock.before(timedelta(days=1))
    return (
        WorkerNode.objects.filter(seen_at__gte=since).select_related("current_job").defer("offers").order_by("-seen_at")
    )
