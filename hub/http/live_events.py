"""A job's live events (SSE). A stream ends after 25 s, and the browser comes back with Last-Event-ID; the last event is
`id: end`, and a browser that sends that gets 204 and stops.

`hub.front` takes what is asked for from `LiveEvents.live` and sends the events itself; under another server the answer
is a generator that holds a thread.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.http import StreamingHttpResponse

from hub import queries
from hub.progress import read_progress

SECONDS = 25.0
HEARTBEAT = 5.0
END = "end"
RETRY = "retry: 1000\n\n"
STILL_HERE = ": still here\n\n"


@dataclass(frozen=True, slots=True)
class Watch:
    """Who watches which job from where on; `tell` makes an event's data what this user may read, and asks nobody."""

    job_id: int
    last_id: str
    user_id: int
    tell: Callable[[dict], dict]


class LiveEvents(StreamingHttpResponse):
    """The answer to somebody who may see the job now."""

    def __init__(self, watch: Watch) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        events = stream(watch.job_id, watch.last_id, watch.tell)
        super().__init__(events, content_type="text/event-stream; charset=utf-8", headers=headers)
        self.live = watch


def stream(job_id: int, last_id: str, tell: Callable[[dict], dict], seconds: float = SECONDS) -> Iterator[str]:
    """Events `progress`, `log`, `token` and `state` after `last_id`, with heartbeat comments between.

    `tell` makes the data of each what its watcher may read.
    """
    until = time.monotonic() + seconds
    yield RETRY
    shown = None
    while (left := until - time.monotonic()) > 0:
        found = read_progress(job_id, last_id, block_ms=max(1, int(1000 * min(HEARTBEAT, left))))
        for event_id, event, data in found:
            if event == "snapshot" and data == shown:
                continue
            if event == "snapshot":
                shown = data
                yield from (_event("state", data, None, tell), _event("progress", data, None, tell))
            else:
                last_id = event_id
                yield _event(event, data, event_id, tell)
        if _may_be_over(found) and (end := queries.job_end(job_id)):
            yield from _end(job_id, last_id, end, tell)
            return
        if not found:
            yield STILL_HERE


def _may_be_over(found: list) -> bool:
    """True where the stream is silent or holds a change of state; then the job's row is read."""
    return not found or any(event in ("state", "snapshot") for _, event, _ in found)


def _end(job_id: int, last_id: str, end: dict, tell: Callable[[dict], dict]) -> Iterator[str]:
    """What the stream still holds, and the final state."""
    for event_id, event, data in read_progress(job_id, last_id, block_ms=1):
        if event != "snapshot":
            yield _event(event, data, event_id, tell)
    yield _event("state", end, END, tell)


def event_text(name: str, data: str, event_id: str | None = None) -> str:
    """One event as the protocol writes it; `data` is JSON."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: {data}\n\n"


def _event(name: str, data: dict, event_id: str | None, tell: Callable[[dict], dict]) -> str:
    return event_text(name, json.dumps(tell(data), default=str), event_id)
