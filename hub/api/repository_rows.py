"""Repositories as JSON, straight from columns: a list of thirty makes no model and no serializer of each row.

`hub.api.views.repositories.RepositoryShape` says the same in the schema's words.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from django.db.models import QuerySet

from hub import queries
from hub.models import Repository, Revision, path_of

PLAIN = ("name", "kind", "visibility", "gate", "description")
FACTS = ("origin", "peft_type", "rank", "license", "size", "downloads")
TIMES = ("created_at", "updated_at", "deleted_at")
COLUMNS = ("id", "namespace__name", "base__name", *PLAIN, *FACTS, *TIMES)


def columns(found: QuerySet[Repository]) -> QuerySet:
    """What a list has to load of each row."""
    return queries.with_newest(found).values(*COLUMNS, "newest")


def show(found: Sequence[Repository | Mapping], ref: str = "") -> list[dict]:
    """The repositories, or their `columns`, with tags and with what `ref` stands for in each."""
    rows = found if all(isinstance(row, Mapping) for row in found) else _all_columns(found)
    pks = [row["id"] for row in rows]
    tags, at = queries.tag_names(pks), queries.at_ref(pks, ref) if ref else {}
    return [_one(row, tags.get(row["id"], []), at.get(row["id"])) for row in rows]


def _all_columns(found: Sequence[Repository]) -> list[dict]:
    newest = queries.newest_numbers([row.pk for row in found])
    return [_columns(row) | {"newest": newest.get(row.pk)} for row in found]


def _columns(row: Repository) -> dict:
    base = row.base.name if row.base_id else None
    named = {"id": row.pk, "namespace__name": row.namespace.name, "base__name": base}
    return named | {name: getattr(row, name) for name in (*PLAIN, *FACTS, *TIMES)}


def _one(row: Mapping, tags: list[str], at: Revision | None) -> dict:
    namespace, name = row["namespace__name"], row["name"]
    return {
        "full_name": f"{namespace}/{name}",
        "path": path_of(row["kind"], namespace, name),
        "namespace": namespace,
        **{key: row[key] for key in PLAIN},
        "base": row["base__name"],
        **{key: row[key] for key in FACTS},
        "tags": tags,
        "latest": None if row["newest"] is None else f"v{row['newest']}",
        **{key: _moment(row[key]) for key in TIMES},
        "at": at and {"revision": at.oid, "version": at.version and at.version.label},
    }


def _moment(time: datetime | None) -> str | None:
    return time and time.isoformat().replace("+00:00", "Z")
