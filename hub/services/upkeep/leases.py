"""Leases in the database, so that one process of all machines does a thing at a time. A dead holder's lease ends.

`backup` also keeps the collector from deleting bytes: see `hub.services.content.collection.collect`.
"""

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Q

from hub.errors import Conflict
from hub.models import UpkeepTask, clock

SECONDS = 600.0
RUNNER, BACKUP, BEAT = "runner", "backup", "beat"


class Lease:
    """A lease that is held; call `renew` often: it writes once in a tenth of the lease's time."""

    def __init__(self, name: str, holder: str, seconds: float) -> None:
        self.name, self.holder, self.seconds = name, holder, seconds
        self._renewed = time.monotonic()

    def renew(self) -> bool:
        """Hold it for its whole time again; False where it ran out and someone else may have taken it."""
        if time.monotonic() - self._renewed < self.seconds / 10:
            return True
        self._renewed = time.monotonic()
        mine = UpkeepTask.objects.filter(name=self.name, holder=self.holder, lease_until__gt=clock.now())
        return bool(mine.update(lease_until=clock.after(timedelta(seconds=self.seconds))))


@contextlib.contextmanager
def lease(name: str, *, seconds: float = SECONDS) -> Iterator[Lease | None]:
    """Take the lease `name`, or yield None where another holds it. It is given back at the end."""
    holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"[-100:]
    UpkeepTask.objects.bulk_create([UpkeepTask(name=name)], ignore_conflicts=True)
    free = UpkeepTask.objects.filter(Q(lease_until=None) | Q(lease_until__lte=clock.now()), name=name)
    if not free.update(holder=holder, lease_until=clock.after(timedelta(seconds=seconds))):
        yield None
        return
    try:
        yield Lease(name, holder, seconds)
    finally:
        UpkeepTask.objects.filter(name=name, holder=holder).update(lease_until=None, holder="")


def is_held(name: str) -> bool:
    """True while someone holds the lease."""
    return UpkeepTask.objects.filter(name=name, lease_until__gt=clock.now()).exists()


def busy(what: str, name: str) -> Conflict:
    """The refusal where another process holds the lease."""
    holder = UpkeepTask.objects.filter(name=name).values_list("holder", "lease_until").first()
    who = f" ({holder[0]}; its lease ends at {holder[1]:%H:%M:%S} UTC unless it is renewed)" if holder else ""
    return Conflict(f"Another {what} is running{who}. Wait until it has ended, then try again.", code=f"{name}.busy")
