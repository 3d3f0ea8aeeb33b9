"""Repositories as JSON, straight from columns: a list of thirty makes no model and no serializer of each row.

`hub.api.views.repositories.RepositoryShape` says the same in the schema's words.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from hub import queries
from hub.models import Repository, Revision, path_of

PLAIN = ("name", "kind", "visibility", "gate", "description")
FACTS = ("origin", "peft_type", "rank", "license", "size", "downloads")
TIMES = ("created_at", "updated_at", "deleted_at")
COLUMNS = ("id", "namespace__name", "base__name", *PLAIN, *FACTS, *TIMES)
"""What a list has to load of each row."""


def show(found: Sequence[Repository | Mapping], ref: str = "") -> list[dict]:
    """The repositories with tags, newest version, and what `ref` stands for in each: two queries more, or three."""
    rows = [row if isinstance(row, Mapping) else _columns(row) for row in found]
    pks = [row["id"] for row in rows]
    tags, newest = queries.tag_names(pks), queries.newest_numbers(pks)
    at = queries.at_ref(pks, ref) if ref else {}
    return [_one(row, tags.get(row["id"], []), newest.get(row["id"]), at.get(row["id"])) for row in rows]


def _columns(row: Repository) -> dict:
    base = row.base.name if row.base_id else None
    named = {"id": row.pk, "namespace__name": row.namespace.name, "base__name": base}
    return named | {name: getattr(row, name) for name in (*PLAIN, *FACTS, *TIMES)}


def _one(row: Mapping, tags: list[str], newest: int | None, at: Revision | None) -> dict:
    namespace, name = row["namespace__name"], row["name"]
    return {
        "full_name": f"{namespace}/{name}",
        "path": path_of(row["kind"], namespace, name),
        "namespace": namespace,
        **{key: row[key] for key in PLAIN},
        "base": row["base__name"],
        **{key: row[key] for key in FACTS},
        "tags": tags,
        "latest": None if newest is None else f"v{newest}",
        **{key: _moment(row[key]) for key in TIMES},
        "at": at and {"revision": at.oid, "version": at.version and at.version.label},
    }


def _moment(time: datetime | None) -> str | None:
    return time and time.isoformat().replace("+00:00", "Z")
