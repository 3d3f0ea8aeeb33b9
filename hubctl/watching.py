"""Following a job: live events while they come, the job itself at every turn, through restarts of the hub.

The hub's event streams end after some seconds; each next one begins after the last event seen. Where there is no
stream (a proxy may cut it), the job is polled.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from hubctl.errors import HubctlError, JobEnded, Unreachable

if TYPE_CHECKING:
    from hubctl.client import Hub

FINAL_STATES = frozenset({"done", "failed", "cancelled"})
SECONDS_SILENT = 20.0
SECONDS_A_TURN = 0.5
Watch = Callable[[dict[str, Any]], None]
Token = Callable[[dict[str, Any]], None]
Event = tuple[str, str, dict[str, Any]]


def wait(
    hub: "Hub",
    job_id: int,
    *,
    watch: Watch = lambda job: None,
    log: Callable[[str], None] = lambda text: None,
    token: Token = lambda data: None,
    patience: float = 120.0,
) -> dict[str, Any]:
    """The job once it is done; JobEnded when it failed or was cancelled.

    `watch` is told of the job at each change, `log` of each line of its log, `token` of each piece {side, text, tokens,
    attempt} of a trial's answers. A hub that is away for less than
    `patience` seconds is waited for.
    """
    last_id, lost_since = "", None
    while True:
        try:
            job = hub.job(job_id)
            lost_since = None
        except Unreachable:
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > patience:
                raise
            continue
        watch(job)
        if job["state"] in FINAL_STATES:
            return finished(job)
        began = time.monotonic()
        last_id = _listen(hub, job, last_id, watch, log, token)
        time.sleep(max(0.0, SECONDS_A_TURN - (time.monotonic() - began)))


def finished(job: dict[str, Any]) -> dict[str, Any]:
    """The job itself if it is done; JobEnded with its reason otherwise."""
    if job["state"] == "done":
        return job
    error = job.get("error") or {}
    why = error.get("message") or ("it was cancelled" if job["state"] == "cancelled" else "the hub gives no reason")
    raise JobEnded(f"job {job['id']} {job['state']}: {why}", code=error.get("code") or f"job.{job['state']}", job=job)


def _listen(
    hub: "Hub", job: dict[str, Any], last_id: str, watch: Watch, log: Callable[[str], None], token: Token
) -> str:
    """Hand on events until the job ends or the stream does; the id of the last event."""
    import httpx

    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    timeout = httpx.Timeout(SECONDS_SILENT)
    try:
        with hub.transport.stream(f"/jobs/{job['id']}/events", headers=headers, timeout=timeout) as response:
            for event_id, name, data in events(response.iter_lines()):
                last_id = event_id if event_id[:1].isdigit() else last_id
                if name == "log":
                    log(str(data.get("text", "")))
                elif name == "token":
                    token(data)
                elif name == "progress":
                    job = job | {"progress": data.get("fraction"), "message": data.get("message") or ""}
                    watch(job)
                elif name == "state":
                    if data.get("state") in FINAL_STATES:
                        break
                    job = job | {"state": data.get("state", job["state"])}
                    watch(job)
    except (httpx.TransportError, HubctlError):
        return last_id
    return last_id


def events(lines: Iterator[str]) -> Iterator[Event]:
    """(id, event, data) of a text/event-stream."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        if "data" in fields:
            try:
                data = json.loads(fields["data"])
            except ValueError:
                data = None
            if isinstance(data, dict):
                yield fields.get("id", ""), fields.get("event", "message"), data
        fields = {}
