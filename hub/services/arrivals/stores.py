"""Chunk stores: where the bytes lie that a user is sending to a repository and that are no whole files yet.

A store is a row, and a folder of this machine or objects in the blobs' bucket, where any host finds them: xorbs
(`chunks`) and LFS files in parts (`transfers`). It is closed by
its user's commit, and by whatever in it can't be used: the next upload gets another store, with another address, as a
client believes for good that an address has what it sent there. Uploads that are under way in a closed store go on;
when nothing has come for a while, its bytes go. What was left open expires as uploads do.
"""

import shutil
from collections.abc import Callable
from datetime import timedelta
from itertools import chain
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest

from hub import disk
from hub.errors import NotFound, QuotaExceeded
from hub.models import ChunkStore, Repository, StagedPart, User, clock
from hub.services import quotas
from hub.services.content.staging.object_store import INCOMING, bucket
from hub.services.content.staging.parts import release
from hub.services.upkeep import batches

# A closed store goes when nothing has come to it for this long; sooner where its user needs the room.
QUIET = timedelta(minutes=10)
QUIET_AT_LEAST = timedelta(minutes=1)


def folder(store: ChunkStore) -> Path:
    """Where its bytes lie: by the store's id, never by a client's name."""
    return Path(settings.UPLOAD_FOLDER) / str(store.pk)


def in_bucket() -> bool:
    """True where the bytes are objects in the blobs' bucket, and no folder of this machine."""
    return bucket() is not None


def require_room(size: int) -> None:
    """DiskFull where there is no room for bytes that are about to come. A bucket's room is the store's own business."""
    disk.require_room(0 if in_bucket() else size)


def objects(store: ChunkStore) -> str:
    """What the names of its objects begin with, but for those of LFS parts, which have rows."""
    return f"{INCOMING}/xet/{store.pk.hex}/"


def open_store(*, actor: User, repository: Repository) -> ChunkStore:
    """The user's open store for the repository; a new one where there is none, or where its bytes were swept."""
    sweep_closed(user=actor)
    for store in _of(actor, repository).order_by("-opened_at"):
        if in_bucket() or folder(store).is_dir():
            touch(store)
            return store
        close(store)
    store = ChunkStore.objects.create(user=actor, repository=repository, touched_at=clock.now())
    if not in_bucket():
        folder(store).mkdir(parents=True, exist_ok=True)
    return store


def close(store: ChunkStore) -> None:
    """Give nobody its address any more. Uploads that are under way in it go on."""
    ChunkStore.objects.filter(pk=store.pk, closed_at=None).update(closed_at=clock.now())


def close_all(*, actor: User, repository: Repository) -> None:
    """Close the user's stores for the repository: what they were for has been committed."""
    _of(actor, repository).update(closed_at=clock.now())


def touch(store: ChunkStore) -> None:
    """Note that somebody is at it, so that it doesn't expire; NotFound `arrival.store_gone` where it has."""
    if not ChunkStore.objects.filter(pk=store.pk).update(touched_at=clock.now()):
        raise NotFound("This upload has expired. Begin it again.", code="arrival.store_gone")


def expect(store: ChunkStore, size: int) -> None:
    """Refuse now what could not be kept; QuotaExceeded `quota.staged_bytes`, DiskFull. Makes room where it can."""
    require_room(size)
    try:
        quotas.require("staged_bytes", store.user, needed=size, hold=False)
    except QuotaExceeded:
        if not sweep_closed(user=store.user, quiet=QUIET_AT_LEAST):
            raise
        quotas.require("staged_bytes", store.user, needed=size, hold=False)


@transaction.atomic
def charge(store: ChunkStore, size: int) -> None:
    """Count bytes that are about to be kept in the store; QuotaExceeded `quota.staged_bytes`."""
    quotas.require("staged_bytes", store.user, needed=size)
    if not ChunkStore.objects.filter(pk=store.pk).update(bytes=F("bytes") + size, touched_at=clock.now()):
        touch(store)


def discharge(store: ChunkStore, size: int) -> None:
    """Count bytes no longer."""
    ChunkStore.objects.filter(pk=store.pk).update(bytes=Greatest(F("bytes") - size, 0))


def sweep_closed(*, user: User | None = None, quiet: timedelta = QUIET, dry_run: bool = False) -> int:
    """Remove closed stores, of one user or all, to which nothing has come within `quiet`; how many."""
    before = clock.before(quiet)
    found = ChunkStore.objects.filter(closed_at__lt=before, touched_at__lt=before)
    return sum(_remove(store, before, dry_run) for store in (found.filter(user=user) if user else found))


def expire(*, dry_run: bool = False, go_on: Callable[[], bool] = lambda: True) -> int:
    """Remove the closed ones that are quiet, and open ones older than HUB_KEEP_UPLOADS_DAYS; how many."""
    removed = sweep_closed(dry_run=dry_run)
    if not settings.KEEP_UPLOADS_DAYS:
        return removed
    before = clock.before(timedelta(days=settings.KEEP_UPLOADS_DAYS))
    for store in chain.from_iterable(batches.rows(ChunkStore.objects.filter(closed_at=None, touched_at__lt=before))):
        if not go_on():
            break
        removed += _remove(store, before, dry_run)
    return removed


def _remove(store: ChunkStore, before, dry_run: bool) -> bool:
    if dry_run:
        return True
    parts = list(StagedPart.objects.filter(transfer__store=store).values_list("name", flat=True))
    # The row first: from then on nobody writes there, and what is without a row is swept as a stray.
    gone = bool(ChunkStore.objects.filter(pk=store.pk, touched_at__lt=before).delete()[0])
    if gone:
        shutil.rmtree(folder(store), ignore_errors=True)
    if gone and in_bucket():
        release(parts)
        bucket().delete([name for name, _ in bucket().walk(objects(store))])
    return gone


def _of(actor: User, repository: Repository) -> QuerySet[ChunkStore]:
    return ChunkStore.objects.filter(user=actor, repository=repository, closed_at=None)
