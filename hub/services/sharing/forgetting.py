"""Forgetting what closed proposals proposed, so that their bytes are free and count for nobody.

It happens HUB_KEEP_UPLOADS_DAYS after the closing, as with pushes that were begun and left. The proposal stays, with
its words; it can't be opened again. What somebody tagged, or went on from, stays too.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import chain

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from hub.models import ManifestEntry, PullRequest, PullState, Ref, RefKind, Repository, Revision, Upload
from hub.services.upkeep import batches


def forget_closed(*, dry_run: bool = False, go_on: Callable[[], bool] = lambda: True) -> int:
    """Forget the revisions of what was closed long ago, none where the setting is 0; how many proposals."""
    if not settings.KEEP_UPLOADS_DAYS:
        return 0
    before = timezone.now() - timedelta(days=settings.KEEP_UPLOADS_DAYS)
    done = 0
    for pk in chain.from_iterable(batches.pks(_closed(before))):
        if not go_on():
            break
        done += _forget(pk, before, dry_run)
    return done


def _closed(before: datetime) -> QuerySet[PullRequest]:
    proposed = Revision.objects.filter(pull__isnull=False).values("pull")
    closed = PullRequest.objects.filter(state=PullState.CLOSED, closed_at__lt=before, pk__in=proposed)
    return closed.filter(repository__deleted_at=None)


@transaction.atomic
def _forget(pk: int, before: datetime, dry_run: bool) -> bool:
    pull = _closed(before).filter(pk=pk).first()
    if pull is None:
        return False
    # Whoever reopens it, tags it or goes on from it holds the repository's lock.
    Repository.objects.select_for_update(of=("self",)).get(pk=pull.repository_id)
    pull = _closed(before).filter(pk=pk).first()
    revisions = Revision.objects.filter(pull=pull)
    if pull is None or _is_used(pull, revisions):
        return False
    if not dry_run:
        Ref.objects.filter(repository=pull.repository, kind=RefKind.PULL, name=pull.ref).delete()
        ManifestEntry.objects.filter(revision__in=revisions).delete()
        revisions.update(parent=None)
        revisions.delete()
    return True


def _is_used(pull: PullRequest, revisions: QuerySet[Revision]) -> bool:
    """Whether another ref leads there, another revision goes on from there, or an upload does."""
    others = Ref.objects.filter(revision__in=revisions).exclude(kind=RefKind.PULL, name=pull.ref)
    later = Revision.objects.filter(parent__in=revisions).filter(~Q(pull=pull) | Q(pull=None))
    uploads = Upload.objects.filter(Q(parent__in=revisions) | Q(revision__in=revisions))
    return others.exists() or later.exists() or uploads.exists()
