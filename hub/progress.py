"""A job's live stream: progress, figures, log lines and states, through a capped Redis stream that expires.

The database holds the truth and the log for good; this is the fast copy for those who watch. Without Redis, watchers
see the database's slower picture, and jobs go on.
"""

import contextlib
import json
import re
import time
from collections.abc import Collection

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
        pipe.xadd(stream_key(job_id), entry, maxlen=LENGTH, approximate=True)
        pipe.expire(stream_key(job_id), SECONDS_KEPT)
        pipe.execute()
    except (redis.RedisError, OSError):
        _away_until = time.monotonic() + SECONDS_AWAY


def read_progress(job_id: int, last_id: str = "", block_ms: int = 0) -> list[tuple[str, str, dict]]:
    """Events after `last_id` ("" from the beginning) as (id, event, data), waiting up to `block_ms` for the first.

    Without Redis: after the wait, one `snapshot` event from the database with the id given back unchanged.
    """
    try:
        found = broker.listener().xread({stream_key(job_id): position_of(last_id)}, count=500, block=block_ms or None)
    except (redis.RedisError, OSError):
        time.sleep(min(block_ms / 1000, 1.0))
        return [(last_id or BEGINNING, "snapshot", data) for data in snapshots([job_id]).values()]
    entries = found[0][1] if found else []
    return [entry_of(entry) for entry in entries]


def entry_of(entry: tuple[str, dict]) -> tuple[str, str, dict]:
    """(id, event, data) of an entry of the Redis stream."""
    entry_id, fields = entry
    return entry_id, fields["event"], json.loads(fields["data"])


def snapshots(job_ids: Collection[int]) -> dict[int, dict]:
    """What the database knows of how these jobs go: state, fraction, message, figures, attempt, by job."""
    fields = ("pk", "state", "progress", "message", "figures", "attempt")
    rows = {row.pop("pk"): row for row in Job.objects.filter(pk__in=job_ids).values(*fields)}
    return {pk: {**row, "fraction": row["progress"]} for pk, row in rows.items()}


def position_of(last_id: str) -> str:
    """A client's Last-Event-ID if it is one, else the beginning."""
    return last_id if ENTRY.fullmatch(last_id) else BEGINNING


def stream_key(job_id: int) -> str:
    """The name of a job's stream in Redis."""
    return f"hub:job:{int(job_id)}:events"


def forget(job_id: int) -> None:
    """Drop a job's stream."""
    with contextlib.suppress(redis.RedisError, OSError):
        broker.client().delete(stream_key(job_id))
