"""Holding an upload in the database, where its bytes are not on one machine: by a lease on its row."""

import contextlib
import time
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import timedelta

from django.db.models import Q
from django.db.models.functions import Now

from hub.models import Upload
from hub.services.content.staging.refusals import busy

LEASE = timedelta(seconds=60)


@contextlib.contextmanager
def whole(upload: uuid.UUID, *, patience: float) -> Iterator[None]:
    """Hold an upload against a second commit and against being removed: for a minute, and on as long as it is renewed.

    Conflict `upload.busy` where another request holds it. Nothing depends on it but that no work is done twice: a
    commit is fenced by its last write.
    """
    held, deadline = _Held(upload), time.monotonic() + patience
    while not held.take():
        if not Upload.objects.filter(pk=upload).exists():
            break
        if time.monotonic() > deadline:
            raise busy()
        time.sleep(0.1)
    token = _holding.set(held)
    try:
        yield
    finally:
        _holding.reset(token)
        held.give_back()


def renew() -> None:
    """Hold on to what is held."""
    if (held := _holding.get()) is not None:
        held.renew()


class _Held:
    def __init__(self, upload: uuid.UUID) -> None:
        self.rows, self.holder, self.since = Upload.objects.filter(pk=upload), uuid.uuid4().hex, time.monotonic()

    def take(self) -> bool:
        free = self.rows.filter(Q(held_until=None) | Q(held_until__lt=Now()))
        return bool(free.update(held_by=self.holder, held_until=Now() + LEASE))

    def renew(self) -> None:
        if time.monotonic() - self.since > LEASE.total_seconds() / 10:
            self.since = time.monotonic()
            self.rows.filter(held_by=self.holder).update(held_until=Now() + LEASE)

    def give_back(self) -> None:
        self.rows.filter(held_by=self.holder).update(held_by="", held_until=None)


_holding: ContextVar[_Held | None] = ContextVar("holding", default=None)
