"""Letting arrivals go: those that a commit has named, and those that nobody came back for.

Only the row goes. The bytes stay where a revision names them, and else are collected with all that nothing refers to.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta
from itertools import chain

from django.conf import settings

from hub.models import Arrival, Repository, User, clock
from hub.services.arrivals import stores
from hub.services.upkeep import batches


def let_go(*, actor: User, repository: Repository, digests: Iterable[str]) -> None:
    """Forget this user's arrivals of these bytes: a revision holds them now. What they came through is closed."""
    if Arrival.objects.filter(user=actor, repository=repository, blob__in=set(digests)).delete()[0]:
        stores.close_all(actor=actor, repository=repository)


def expire(*, dry_run: bool = False, go_on: Callable[[], bool] = lambda: True) -> int:
    """Forget arrivals older than HUB_KEEP_UPLOADS_DAYS, none where that is 0, and chunk stores; how many.

    `dry_run` counts only.
    """
    expired = stores.expire(dry_run=dry_run, go_on=go_on)
    if not settings.KEEP_UPLOADS_DAYS:
        return expired
    before = clock.before(timedelta(days=settings.KEEP_UPLOADS_DAYS))
    for pk in chain.from_iterable(batches.pks(Arrival.objects.filter(touched_at__lt=before))):
        if not go_on():
            break
        expired += 1 if dry_run else Arrival.objects.filter(pk=pk, touched_at__lt=before).delete()[0]
    return expired
