"""Refs and commits as the client reads them."""

import html
from collections.abc import Iterable, Mapping

from hub.hf.shapes.moments import moment
from hub.models import Ref, Revision, Version
from hub.services.content.pointers import GitFile

FILE_MODE = "100644"
DELETED = "ghost"  # who no longer has an account


def ref(name: str, full: str, oid: str) -> dict:
    """One name and what it points at; `full` is as `refs/heads/main`."""
    return {"name": name, "ref": full, "targetCommit": oid}


def refs(rows: Iterable[Ref], versions: Iterable[Version]) -> dict[str, list[dict]]:
    """Branches and tags, among these the versions; nothing here converts a repository to another form."""
    rows = list(rows)
    branches = [ref(row.name, f"refs/heads/{row.name}", row.revision.oid) for row in rows if not row.is_tag]
    tags = [ref(row.name, f"refs/tags/{row.name}", row.revision.oid) for row in rows if row.is_tag]
    made = [(version.label, version.revision) for version in versions]
    tags += [ref(label, f"refs/tags/{label}", revision.oid) for label, revision in made if revision]
    return {"branches": branches, "converts": [], "tags": tags}


def commit(revision: Revision, *, formatted: bool = False) -> dict:
    """One commit; `formatted` adds title and message as HTML."""
    title, _, message = revision.message.partition("\n")
    said = {
        "id": revision.oid,
        "title": title,
        "message": message.strip(),
        "date": moment(revision.created_at),
        "authors": [{"user": revision.author.username if revision.author else DELETED}],
    }
    if formatted:
        said["formatted"] = {"title": html.escape(title), "message": html.escape(message.strip())}
    return said


def difference(old: Mapping[str, GitFile], new: Mapping[str, GitFile]) -> str:
    """`git diff --raw` of two revisions' files: modes, ids of git before and after, letter, path."""
    lines = []
    for path in sorted({*old, *new}):
        before, after = old.get(path), new.get(path)
        if before is None or after is None or before.oid != after.oid:
            letter = "A" if before is None else "D" if after is None else "M"
            sides = [(file is not None and FILE_MODE) or "000000" for file in (before, after)]
            ids = [file.oid if file else "0" * 40 for file in (before, after)]
            lines.append(f":{sides[0]} {sides[1]} {ids[0]} {ids[1]} {letter}\t{path}\n")
    return "".join(lines)
