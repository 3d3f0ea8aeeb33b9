"""Forgetting pushes that were begun and left, with the bytes that came.

Their rows say when bytes last came, as the bytes may lie on a machine that this one can't look into. There, the folders
of pushes that are forgotten are strays, which `staging.sweep` removes when the next push begins.
"""

import contextlib
from collections.abc import Callable
from datetime import timedelta
from itertools import chain

from django.conf import settings

from hub.errors import Conflict
from hub.models import Upload, clock
from hub.services.content import staging
from hub.services.upkeep import batches


def expire_uploads(
    *, older_than: timedelta | None = None, dry_run: bool = False, go_on: Callable[[], bool] = lambda: True
) -> int:
    """Forget uploads that got nothing for that long, and folders that belong to none; how many.

    By default that is HUB_KEEP_UPLOADS_DAYS, and nothing is forgotten where that is 0. `dry_run` counts only, and
    `go_on` is asked before each upload: once it answers False, the rest is left for the next time.
    """
    if older_than is None and not settings.KEEP_UPLOADS_DAYS:
        return 0
    before = clock.read() - (older_than if older_than is not None else timedelta(days=settings.KEEP_UPLOADS_DAYS))
    expired = 0
    for upload in chain.from_iterable(batches.rows(Upload.objects.filter(touched_at__lt=before))):
        if not go_on():
            return expired
        if dry_run:
            expired += 1
            continue
        with contextlib.suppress(Conflict), staging.whole(upload.pk, patience=0):
            if Upload.objects.filter(pk=upload.pk, touched_at__lt=before).delete()[0]:
                staging.remove(upload)
                expired += 1
    return expired + staging.remove_strays(before, dry_run=dry_run)
