"""A job as YAML of this hub: its kind, inputs with revisions and digests, the recipe's fields, where the result goes.

    kind: ties
    version: 1
    inputs:
    - {name: demo/a@v1, revision: 4c1f…, digest: 9b02…, weight: 0.5}
    - demo/b
    fields: {density: 0.5, rank: 8}
    output: demo/ab

A digest or revision that is given is checked, so that a file says which bytes it was about. A private text has no place
in it: jobs that read some are refused.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from composition.registry import METHODS, brought_forward
from hub import access, queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import DATASET, Job, JobInput, Version
from hub.services.jobs.kinds import roles

CODE = "recipe.file"
WEIGHTS, WEIGHT = "weights", "weight"
ENTRY = ("name", "revision", "digest", WEIGHT)
PLAIN = ("output", "visibility", "base")
LISTS = ("inputs", "datasets", "keep")


def write(viewer: Viewer, job: Job) -> str:
    """The job as YAML. Invalid where it read private texts, or an input that the viewer doesn't see."""
    rows = list(job.inputs.select_related("version__repository__namespace"))
    seen = queries.seen(viewer, [row.version.repository_id for row in rows])
    if any(row.version.repository_id not in seen for row in rows):
        raise Invalid(f"Job {job.pk} has inputs that you don't see, so its recipe can't be written.", code=CODE)
    if job.files.exists():
        raise Invalid(f"Job {job.pk} read private texts, which a recipe's file can't hold.", code=CODE)
    recipe = brought_forward(job.recipe)
    by_role: dict[str, list[JobInput]] = {}
    for row in rows:
        by_role.setdefault(row.role, []).append(row)
    fields = {name: value for name, value in recipe.items() if name not in ("kind", "version") and value is not None}
    weights = fields.pop(WEIGHTS, None) or [None] * len(by_role.get("adapter", ()))
    body: dict[str, Any] = {"kind": job.kind, "version": recipe.get("version")}
    adapters = zip(by_role.pop("adapter", []), weights, strict=True)
    body["inputs"] = [_entry(row, weight) for row, weight in adapters]
    body["datasets"] = [_entry(row) for row in by_role.pop(DATASET, [])]
    body |= {role: str(rows[0].version) for role, rows in by_role.items()}
    body |= {"base": job.base and job.base.name, "fields": fields, "output": job.output_path, "keep": list(job.keep)}
    body["visibility"] = str(job.output_visibility) if job.output_path else None
    told = {name: value for name, value in body.items() if value not in (None, "", [], {})}
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=110)


def read(viewer: Viewer, data: Mapping[str, Any]) -> dict[str, Any]:
    """The body for POST /jobs. Raises Invalid for what is unknown or ill-typed, and for other bytes than were named."""
    others = {role.name for role in roles()}
    known = {"kind", "version", "fields", *LISTS, *PLAIN, *others}
    if unknown := sorted(set(map(str, data)) - known):
        raise _wrong(unknown[0], f"a recipe's file has no {unknown[0]!r}; it takes {', '.join(sorted(known))}")
    kind, fields = _text(data, "kind"), data.get("fields") or {}
    if kind is None or kind not in METHODS:
        raise _wrong("kind", f"expected the name of a method, got {kind!r}")
    if not isinstance(fields, Mapping):
        raise _wrong("fields", "expected the recipe's fields by name")
    inputs, weights = _entries(viewer, data, "inputs")
    datasets, _ = _entries(viewer, data, "datasets")
    recipe = {str(name): value for name, value in fields.items()}
    if weights:
        if WEIGHTS in recipe:
            raise _wrong("inputs", "weights stand at the inputs and among the fields; give them once")
        recipe[WEIGHTS] = weights
    if "version" in data:
        recipe["version"] = data["version"]
    body = {"kind": kind, "recipe": recipe, "inputs": inputs, "datasets": datasets, "keep": _list(data, "keep")}
    body |= {name: _text(data, name) for name in (*PLAIN, *sorted(others))}
    return {name: value for name, value in body.items() if value not in (None, [])}


def _entry(row: JobInput, weight: float | None = None) -> dict[str, Any]:
    revision = row.version.revision
    entry = {"name": str(row.version), "revision": revision and revision.oid, "digest": row.digest, WEIGHT: weight}
    return {name: value for name, value in entry.items() if value is not None}


def _entries(viewer: Viewer, data: Mapping[str, Any], field: str) -> tuple[list[str], list[float]]:
    """(names, weights) of inputs or datasets."""
    names, weights = [], []
    for entry in _list(data, field):
        given = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(given, Mapping) or not isinstance(given.get("name"), str) or set(given) - set(ENTRY):
            raise _wrong(field, f"expected a name, or {{{', '.join(ENTRY)}}}, got {str(entry)[:100]!r}")
        _check_bytes(viewer, given, field)
        names.append(given["name"])
        if WEIGHT in given:
            weights.append(given[WEIGHT])
    if weights and (len(weights) < len(names) or field != "inputs"):
        raise _wrong(field, "give every input a weight, or none, and a dataset never")
    return names, weights


def _check_bytes(viewer: Viewer, given: Mapping[str, Any], field: str) -> None:
    """Refuse another version than the one whose digest or revision was written down."""
    if not {"digest", "revision"} & set(given):
        return
    kind = "dataset" if field == "datasets" else None
    version: Version = access.parse_input(viewer, given["name"], kind=kind)
    revision = version.revision
    have = {"digest": version.content_digest, "revision": revision and revision.oid}
    for name in ("digest", "revision"):
        if name in given and given[name] != have[name]:
            raise Invalid(
                f"{field}: {version} has the {name} {have[name]}, and the recipe says {given[name]}: it is not what "
                f"the recipe was made with. Name the right version, or leave out the {name} to take this one.",
                code="recipe.other_bytes",
                field=field,
            )


def _list(data: Mapping[str, Any], field: str) -> list[Any]:
    value = data.get(field) or []
    if not isinstance(value, list):
        raise _wrong(field, f"expected a list, got {str(value)[:100]!r}")
    return value


def _text(data: Mapping[str, Any], field: str) -> str | None:
    value = data.get(field)
    if value is not None and not isinstance(value, str):
        raise _wrong(field, f"expected text, got {str(value)[:100]!r}")
    return value


def _wrong(field: str, said: str) -> Invalid:
    return Invalid(f"{field}: {said}.", code=CODE, field=field)
