"""The audit log as a file: CSV or JSON lines, streamed from batch to batch, so that memory stays flat.

A spreadsheet takes a cell that begins with =, +, - or @ for a formula; such a cell gets a quote before it (OWASP,
"CSV injection").
"""

import csv
import json
from collections.abc import Iterator

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from hub.errors import Invalid
from hub.models import Event

BATCH = 2_000
COLUMNS = ("id", "created_at", "actor", "verb", "object", "namespace", "repository", "address", "request", "detail")
TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def check_format(form: str) -> str:
    """`form`, if it is csv or jsonl."""
    if form not in TYPES:
        raise Invalid(f"format={form[:40]!r}: choose csv or jsonl.", field="format")
    return form


def export_response(request: HttpRequest, events: QuerySet[Event], form: str) -> HttpResponseBase:
    """The events, newest first, as a download."""
    headers = {
        "Content-Disposition": f'attachment; filename="audit-log.{form}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    if request.method == "HEAD":
        return HttpResponse(headers=headers, content_type=TYPES[form])
    lines = {"csv": csv_lines, "jsonl": json_lines}[form]
    return StreamingHttpResponse(lines(rows(events)), headers=headers, content_type=TYPES[form])


def rows(events: QuerySet[Event]) -> Iterator[dict]:
    """The events as they are shown to administrators, a batch of them in memory at a time."""
    events, last = events.order_by("-pk"), None
    while batch := list((events if last is None else events.filter(pk__lt=last))[:BATCH]):
        yield from map(row_of, batch)
        last = batch[-1].pk


def row_of(event: Event) -> dict:
    """One event, nothing hidden."""
    return {
        "id": event.pk,
        "created_at": event.created_at.isoformat(),
        "actor": event.actor.username if event.actor else event.actor_name,
        "verb": event.verb,
        "object": event.object,
        "namespace": event.namespace and event.namespace.name,
        "repository": event.repository and event.repository.path,
        "address": event.address,
        "request": event.request,
        "detail": event.detail,
    }


def json_lines(found: Iterator[dict]) -> Iterator[bytes]:
    """A JSON object a line."""
    for row in found:
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"


class _Line:
    """A file for `csv.writer` that gives back what was written."""

    def write(self, text: str) -> bytes:
        return text.encode()


def csv_lines(found: Iterator[dict]) -> Iterator[bytes]:
    """A header and a line a row (RFC 4180), with no cell that a spreadsheet would run."""
    writer = csv.writer(_Line())
    yield writer.writerow(COLUMNS)
    for row in found:
        cells = {**row, "detail": json.dumps(row["detail"], ensure_ascii=False)}
        yield writer.writerow([harmless(cells[name]) for name in COLUMNS])


def harmless(value: object) -> str:
    """The cell's text; a quote before what a spreadsheet would take for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text
