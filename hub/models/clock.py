"""The database's clock, which all hosts of a site share: leases and what is due are counted by it alone.

A host whose own clock is an hour wrong would else take jobs from workers that live, or hold its own for an hour.
"""

import time
from datetime import datetime, timedelta

from django.db import connection
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now
from django.utils import timezone

SECONDS_COUNTED = 60.0
_asked: tuple[datetime | None, float] = (None, 0.0)


def now() -> Now:
    """The moment of the statement it stands in."""
    return Now()


def after(delta: timedelta) -> CombinedExpression:
    """That moment and `delta`, for a lease's end or the next try."""
    return Now() + delta


def before(delta: timedelta) -> CombinedExpression:
    """The moment `delta` before it."""
    return Now() - delta


def read() -> datetime:
    """What the clock says, where an expression can't be used. It is asked once a minute, and counted on in between."""
    global _asked
    if connection.vendor != "postgresql":
        return timezone.now()  # SQLite is on this machine, and so is its clock.
    said, at = _asked
    if said is None or time.monotonic() - at > SECONDS_COUNTED:
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            said, at = cursor.fetchone()[0], time.monotonic()
        _asked = (said, at)
    return said + timedelta(seconds=time.monotonic() - at)
