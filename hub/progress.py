"""A job's live stream: progress, figures, log lines and states, through a capped Redis stream that expires.

The database holds the truth and the log for good; this is the fast copy for those who watch. Without Redis, watchers
see the database's slower picture, and jobs go on.
"""

import contextlib
import json
import re
import time

import redis

from hub import broker
from hub.models import Job

LENGTH = 2_000
SECONDS_KEPT = 24 * 3600
# After a failure the stream is left alone for this long, so that a dead Redis doesn't slow a job at every step.
SECONDS_AWAY = 5.0
BEGINNING = "0-0"
# Two numbers that fit Redis' 64 bits.
ENTRY = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")

_away_until = 0.0


def publish_progress(job_id: int, event: str, **data: object) -> None:
    """Add an event: `state` {state, attempt}, `progress` {fraction, message, figures, attempt}, `log` {text, attempt},
    or of a trial `token` {side, text, tokens, attempt}: the answer of that side goes on with this text."""
    global _away_until
    if time.monotonic() < _away_until:
        return
    try:
        pipe = broker.client().pipeline(transaction=False)
        entry = {"event": event, "data": json.dumps(data, default=float)}
        pipe.xadd(_key(job_id), entry, maxlen=LENGTH, approximate=True)
        pipe.expire(_key(job_id), SECONDS_KEPT)
        pipe.execute()
    except (redis.RedisError, OSError):
        _away_until = time.monotonic() + SECONDS_AWAY


def read_progress(job_id: int, last_id: str = "", block_ms: int = 0) -> list[tuple[str, str, dict]]:
    """Events after `last_id` ("" from the beginning) as (id, event, data), waiting up to `block_ms` for the first.

    Without Redis: after the wait, one `snapshot` event from the database with the id given back unchanged.
    """
    try:
        found = broker.listener().xread({_key(job_id): _position(last_id)}, count=500, block=block_ms or None)
    except (redis.RedisError, OSError):
        time.sleep(min(block_ms / 1000, 1.0))
        return _snapshot(job_id, last_id)
    entries = found[0][1] if found else []
    return [(entry_id, fields["event"], json.loads(fields["data"])) for entry_id, fields in entries]


def forget(job_id: int) -> None:
    """Drop a job's stream."""
    with contextlib.suppress(redis.RedisError, OSError):
        broker.client().delete(_key(job_id))


def _snapshot(job_id: int, last_id: str) -> list[tuple[str, str, dict]]:
    fields = ("state", "progress", "message", "figures", "attempt")
    row = Job.objects.filter(pk=job_id).values(*fields).first()
    return [(last_id or BEGINNING, "snapshot", {**row, "fraction": row["progress"]})] if row else []


def _position(last_id: str) -> str:
    """A client's Last-Event-ID if it is one, else the beginning."""
    return last_id if ENTRY.fullmatch(last_id) else BEGINNING


def _key(job_id: int) -> str:
    return f"hub:job:{int(job_id)}:events"
