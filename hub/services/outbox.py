"""The outbox: a side effect is written in the same transaction as its cause, and sent after it.

`put` writes a row; if its cause is rolled back, so is the row. After the commit a worker is asked to `drain`, and every
worker's heartbeat sweeps what is due, so that nothing is lost while the broker is away or when a drainer dies.

Delivery is at least once. A drainer takes a row by pushing its `next_at` one lease ahead in a transaction of its own,
calls the topic's handler outside of any transaction (a receiver may be slow, and SQLite has one writer), and marks the
row. If it dies between the last two, the row is due again when the lease is over and is sent again with the same `key`.
No order is promised, not even within a topic.

Rows whose receivers are chosen by users (webhooks) have a lane each, such as a namespace's. Rows without a lane are
sent first; then the lanes take turns, the one that waits longest first, and of a lane one row is sent at a time. So
slow receivers cost their own lane its time, and nobody else more than the row that is being sent.

Register a handler with `@handles("topic")` in a module that `hub.apps` imports, so that every drainer knows it.
"""

import logging
import random
import time
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import DateTimeField, Exists, ExpressionWrapper, OuterRef, QuerySet

from hub import broker
from hub.models import Outbox, OutboxLane, clock

# Called with the payload and the row's key, the same one at every attempt. It raises if it could not send, and returns
# well within the lease: when that is over, another drainer may take the row. A row is tried until its handler returns,
# once an hour in the end: one that gives up on a row says so in its own table and returns.
Handler = Callable[[dict, str], None]

LEASE = timedelta(minutes=2)
LANES_KEPT = timedelta(days=1)
FIRST_DELAY, LONGEST_DELAY = 10.0, 3600.0

_handlers: dict[str, Handler] = {}
_logged: set[str] = set()

log = logging.getLogger(__name__)


def handles(topic: str) -> Callable[[Handler], Handler]:
    """Register the decorated function as the one handler of `topic`."""

    def register(handler: Handler) -> Handler:
        if topic in _handlers:
            raise ValueError(f"The outbox topic {topic!r} has a handler already: {_handlers[topic]!r}.")
        _handlers[topic] = handler
        return handler

    return register


def topics() -> list[str]:
    """The topics that have a handler here."""
    return sorted(_handlers)


def put(topic: str, *, lane: str = "", **payload: object) -> Outbox:
    """Write a side effect; `payload` is kept as JSON. RuntimeError outside of its cause's transaction.

    Give a `lane` where users choose the receiver: it waits for its turn among the lanes.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(
            f"put({topic!r}) was called outside of a transaction; call it in the one that writes its cause."
        )
    row = Outbox.objects.create(topic=topic, lane=lane, payload=payload, next_at=clock.now())
    transaction.on_commit(broker.wake_drainer)
    return row


def is_due() -> bool:
    """True where `drain` would find something to do, or to warn of for the first time."""
    return _due().exclude(topic__in=_logged).exists()


def drain(limit: int = 1000, seconds: float = float("inf")) -> int:
    """Send what is due and say how many were sent: `limit` at most, none begun after `seconds`.

    What a handler raises is kept with its row, which is tried again later. Raises what the database raises.
    """
    _warn_of_unknown_topics()
    _open_lanes()
    until = time.monotonic() + seconds
    sent = 0
    for _ in range(limit):
        row = _take() if time.monotonic() < until else None
        if row is None:
            break
        sent += _send(row)
        _free(row)
    return sent


def purge() -> int:
    """Delete rows that were sent more than HUB_KEEP_OUTBOX_DAYS ago; how many. Lanes without rows go with them."""
    unsent = Outbox.objects.filter(sent_at=None, lane=OuterRef("name"))
    OutboxLane.objects.filter(~Exists(unsent), free_at__lt=clock.before(LANES_KEPT)).delete()
    kept = timedelta(days=settings.KEEP_OUTBOX_DAYS)
    if not kept:
        return 0
    return Outbox.objects.filter(sent_at__lt=clock.before(kept)).delete()[0]


def _due() -> QuerySet[Outbox]:
    return Outbox.objects.filter(sent_at=None, next_at__lte=clock.now())


@transaction.atomic
def _take() -> Outbox | None:
    """The row whose turn it is, ours for a lease; None if there is none that another drainer isn't taking."""
    rows = _due().filter(topic__in=list(_handlers))
    return _hold(rows.filter(lane="")) or _take_of_a_lane(rows)


def _take_of_a_lane(rows: QuerySet[Outbox]) -> Outbox | None:
    """The longest due row of the free lane whose last turn is longest ago; the lane is held as long as the row."""
    free = OutboxLane.objects.filter(Exists(rows.filter(lane=OuterRef("name"))), free_at__lte=clock.now())
    lane = free.order_by("free_at", "pk").select_for_update(skip_locked=True).first()
    row = lane and _hold(rows.filter(lane=lane.name))
    if row is None:
        return None
    OutboxLane.objects.filter(pk=lane.pk).update(free_at=row.next_at)
    return row


def _hold(rows: QuerySet[Outbox]) -> Outbox | None:
    """The one of these that is due longest, ours for a lease."""
    rows = rows.annotate(now=ExpressionWrapper(clock.now(), output_field=DateTimeField()))
    row = rows.order_by("next_at", "pk").select_for_update(skip_locked=True).first()
    if row is None:
        return None
    # Where no rows are locked, the condition on `attempts` decides who was first.
    mine = Outbox.objects.filter(pk=row.pk, attempts=row.attempts, sent_at=None)
    row.attempts, row.next_at = row.attempts + 1, row.now + LEASE
    return row if mine.update(attempts=row.attempts, next_at=row.next_at) else None


def _free(row: Outbox) -> None:
    """End its lane's turn, unless that ended with the lease and another row has it."""
    if row.lane:
        OutboxLane.objects.filter(name=row.lane, free_at=row.next_at).update(free_at=clock.now())


def _open_lanes() -> None:
    """Make the lanes of due rows that have none yet."""
    known = OutboxLane.objects.filter(name=OuterRef("lane"))
    new = _due().exclude(lane="").exclude(Exists(known)).values_list("lane", flat=True).distinct()
    OutboxLane.objects.bulk_create(
        (OutboxLane(name=name, free_at=clock.now()) for name in sorted(new)), ignore_conflicts=True
    )


def _send(row: Outbox) -> bool:
    """Call the handler and mark the row: sent, or to be tried again."""
    try:
        _handlers[row.topic](row.payload, str(row.key))
    except Exception as error:
        log.warning("outbox: %s failed, attempt %s: %s", row, row.attempts, error)
        text = f"{type(error).__name__}: {error}"[:1000].replace("\0", "")
        held = Outbox.objects.filter(pk=row.pk, attempts=row.attempts, sent_at=None)
        held.update(next_at=clock.after(_delay(row.attempts)), error=text)
        return False
    Outbox.objects.filter(pk=row.pk, sent_at=None).update(sent_at=clock.now(), error="")
    return True


def _delay(attempts: int) -> timedelta:
    """How long to wait after that many attempts: doubled each time up to an hour, a quarter less or more by chance."""
    seconds = min(FIRST_DELAY * 2 ** min(attempts - 1, 30), LONGEST_DELAY)
    return timedelta(seconds=seconds * random.uniform(0.75, 1.25))


def _warn_of_unknown_topics() -> None:
    """Say once a process which topics nobody here handles; their rows stay for one who does."""
    unknown = set(_due().exclude(topic__in=list(_handlers)).values_list("topic", flat=True).distinct()) - _logged
    for topic in sorted(unknown):
        log.warning("outbox: nobody here handles the topic %r; its rows wait", topic)
    _logged.update(unknown)
