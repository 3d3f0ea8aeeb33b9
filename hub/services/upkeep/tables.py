"""All rows of the hub as text: one JSONL file a table, its first line the columns. SQLite and PostgreSQL read both.

Writing uses today's models. Reading uses the models as they were when the rows were written, so that a backup of an
earlier release is loaded first and migrated then.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from django.apps import apps
from django.contrib.sessions.models import Session
from django.core.management.color import no_style
from django.db import connection, models
from django.db.models import QuerySet

from hub.models import Blob, SiteKey, UpkeepTask, WorkerNode
from hub.services.content.collection import unreferenced
from hub.services.upkeep.batches import batched

# What describes this moment, and not what is kept: workers that live, leases that are held, the key of these hosts.
MOMENTARY = (WorkerNode, UpkeepTask, SiteKey)
ROWS_A_WRITE = 500


def dump(alias: str, folder: Path, *, sessions: bool, tick: Callable[[], None]) -> list[dict]:
    """Write every table into `folder`; a list of {model, file, rows, sha256}. `tick` is called at every row."""
    written = []
    for model in apps.get_models(include_auto_created=True):
        if model in MOMENTARY or (model is Session and not sessions):
            continue
        path = folder / f"{model._meta.label_lower}.jsonl"
        columns = [field.attname for field in model._meta.local_concrete_fields]
        found = _rows(model, alias).order_by("pk").values_list(*columns)
        sha256, count = _write(path, columns, found.iterator(chunk_size=2000), tick)
        written.append({"model": model._meta.label_lower, "file": path.name, "rows": count, "sha256": sha256})
    return written


def referenced_blobs(alias: str) -> QuerySet[Blob]:
    """The blobs that some row refers to."""
    return Blob.objects.using(alias).exclude(pk__in=unreferenced().using(alias).values("pk"))


def load(folder: Path, written: list[dict], state: object) -> dict[str, int]:
    """Put the rows in the place of all there are, in the caller's transaction; how many of each model.

    `state` are the models of the release that wrote them (Django's historical apps).
    """
    known = {model._meta.label_lower: model for model in state.get_models(include_auto_created=True)}
    _empty([model._meta.db_table for model in known.values()])
    counts = {}
    for table in written:
        model = known[table["model"]]
        for field in model._meta.local_concrete_fields:
            # These models are this call's alone; times are those of the backup, not of today.
            field.auto_now = field.auto_now_add = False
        counts[table["model"]] = _read(folder / table["file"], model)
    connection.check_constraints()
    models_loaded = [known[table["model"]] for table in written]
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), models_loaded):
            cursor.execute(statement)
    return counts


def _rows(model: type[models.Model], alias: str) -> QuerySet:
    return referenced_blobs(alias) if model is Blob else model._base_manager.using(alias)


def _write(path: Path, columns: list[str], rows: Iterator[tuple], tick: Callable[[], None]) -> tuple[str, int]:
    computed, count = hashlib.sha256(), 0
    with path.open("wb") as out:
        for values in _with_header(columns, rows):
            line = json.dumps(values, default=_plain, ensure_ascii=False).encode() + b"\n"
            computed.update(line)
            out.write(line)
            count += 1
            tick()
    return computed.hexdigest(), count - 1


def _with_header(columns: list[str], rows: Iterator[tuple]) -> Iterator[list | tuple]:
    yield columns
    yield from rows


def _plain(value: object) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    raise TypeError(f"a column holds a {type(value).__name__}, which has no form in a backup")


def _empty(tables: list[str]) -> None:
    there = set(connection.introspection.table_names())
    wanted = sorted(there & {*tables, *(model._meta.db_table for model in (*MOMENTARY, Session))})
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), wanted, allow_cascade=True))


def _read(path: Path, model: type[models.Model]) -> int:
    count = 0
    with path.open(encoding="utf-8", newline="\n") as source:
        fields = {field.attname: _target(field) for field in model._meta.local_concrete_fields}
        columns = [(name, fields[name]) for name in json.loads(next(source))]
        for lines in batched(source, ROWS_A_WRITE):
            rows = (json.loads(line) for line in lines)
            made = [
                model(**{name: field.to_python(value) for (name, field), value in zip(columns, row, strict=True)})
                for row in rows
            ]
            count += len(model._base_manager.bulk_create(made))
    return count


def _target(field: models.Field) -> models.Field:
    """The field that says how a column is read: that of the row it points at, for a key."""
    return field.target_field if field.is_relation else field
