"""Writing a bundle: everything that the named repositories hold, signed by this hub.

Companions stay at home: they are private, and have a visibility of their own. A parent that is neither public nor in
the bundle is left out, so that its name stands nowhere.
"""

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from hub.errors import Invalid, NotFound
from hub.models import BaseModel, ManifestEntry, Parentage, Ref, RefKind, Repository, Version, Visibility
from hub.names import split_path
from hub.services.upkeep import batches
from hub.services.upkeep.bundles import archive, claims, signing
from hub.services.upkeep.bundles.history import own_history
from hub.storage import CHUNK, blobs, digest

REVISIONS_A_QUERY = 100


def export(names: Sequence[str], path: Path, *, private: bool = False) -> dict[str, int]:
    """Write the bundle to `path`; how many repositories, versions, blobs and bytes are in it.

    NotFound for a repository that isn't there or is in the trash, Invalid for a private or gated one without `private`.
    """
    repositories = [_find(name) for name in dict.fromkeys(names)]
    hidden = [one.path for one in repositories if one.is_restricted]
    if hidden and not private:
        raise Invalid(
            f"{', '.join(hidden)} is private or gated, and whoever has the file can read it. Add --private to export.",
            code="export.private",
        )
    described = [_repository(one, {row.pk for row in repositories}) for one in repositories]
    entries = sorted(
        {tuple(e) for one in described for revision in one["revisions"] for e in revision["files"].values()}
    )
    manifest = {
        "format": claims.FORMAT,
        "made_at": datetime.now(UTC).isoformat(),
        "bases": _bases(described),
        "repositories": described,
        "blobs": entries,
    }
    data = json.dumps(manifest, sort_keys=True).encode()
    if len(data) > archive.MOST_MANIFEST:
        raise Invalid(f"The manifest would have {len(data):,} bytes. Export fewer repositories at once.")
    signature = json.dumps({"key": signing.public_key(), "signature": signing.sign(data)}).encode()
    part = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        with part.open("wb") as out:
            archive.write(out, data, signature, _files(entries))
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, path)
    except OSError as error:
        raise Invalid(f"{path} can't be written: {error}") from None
    finally:
        part.unlink(missing_ok=True)
    return {
        "repositories": len(described),
        "versions": sum(len(one["versions"]) for one in described),
        "blobs": len(entries),
        "bytes": sum(size for _, size in entries),
    }


def _find(name: str) -> Repository:
    found = Repository.objects.select_related("namespace").at(*split_path(name))
    row = found.filter(deleted_at=None).first()
    if row is None:
        raise NotFound(f"There is no repository {name!r}; write namespace/name, or datasets/namespace/name.")
    if not row.refs.exists():
        raise Invalid(f"{row.path} is empty; there is nothing to export.")
    return row


def _repository(repository: Repository, together: set[int]) -> dict:
    """Refs first, then revisions, then versions: what is pushed meanwhile is in the bundle with all it needs."""
    named = Ref.objects.filter(repository=repository).exclude(kind=RefKind.PULL).select_related("revision")
    refs = [[ref.kind, ref.name, ref.revision.oid] for ref in named.order_by("name", "kind")]
    revisions = list(_revisions(repository))
    numbers = {revision["version"] for revision in revisions}
    versions = Version.objects.filter(repository=repository, number__in=numbers - {None}).select_related("base")
    return {
        "name": repository.full_name,
        "kind": repository.kind,
        # Who was let in to a gated one stays at home, so it comes out private.
        "visibility": Visibility.PRIVATE if repository.is_restricted else repository.visibility,
        "description": repository.description,
        "oid_number": repository.oid_number,
        "revisions": revisions,
        "versions": [_version(version, together) for version in versions.order_by("number")],
        "refs": refs,
    }


def _revisions(repository: Repository) -> Iterator[dict]:
    every = own_history(repository).select_related("parent", "version")
    for some in batches.rows(every, REVISIONS_A_QUERY):
        files: dict[int, dict] = {revision.pk: {} for revision in some}
        entries = ManifestEntry.objects.filter(revision__in=files).order_by("path")
        for pk, path, sha256, size in entries.values_list("revision_id", "path", "blob_id", "blob__size"):
            files[pk][path] = [sha256, size]
        for revision in some:
            yield {
                "oid": revision.oid,
                "parent": revision.parent and revision.parent.oid,
                "message": revision.message,
                "version": revision.version and revision.version.number,
                "files": files[revision.pk],
            }


def _version(version: Version, together: set[int]) -> dict:
    parents = Parentage.objects.filter(child=version).select_related("parent__repository__namespace")
    seen = [
        row.parent
        for row in parents
        if row.parent.repository_id in together
        or (row.parent.repository.visibility == Visibility.PUBLIC and not row.parent.repository.deleted_at)
    ]
    return {
        "number": version.number,
        "base": version.base and [version.base.name, version.base.revision],
        "content_digest": version.content_digest,
        "origin": version.origin,
        "recipe": version.recipe,
        "report": version.report,
        "environment": version.environment,
        "parents": [[one.repository.path, one.number, one.content_digest] for one in seen],
    }


def _bases(described: list[dict]) -> list[dict]:
    named = sorted({tuple(v["base"]) for one in described for v in one["versions"] if v["base"]})
    rows = [BaseModel.objects.get(name=name, revision=revision) for name, revision in named]
    return [
        {
            "name": row.name,
            "revision": row.revision,
            "config": row.config,
            "shapes": row.shapes,
            "fingerprint": row.fingerprint,
            "parameters": row.parameters,
            "license": row.license,
        }
        for row in rows
    ]


def _files(entries: list[tuple[str, int]]) -> Iterator[tuple[str, int, BinaryIO]]:
    for sha256, size in entries:
        yield sha256, size, _Verified(sha256, size)


class _Verified:
    """A blob's stream that is what its digest says, or ends in OSError: read once to know, then once to write."""

    def __init__(self, sha256: str, size: int) -> None:
        with blobs.open(sha256) as stream:
            if digest(stream) != (sha256, size):
                raise OSError(f"blob {sha256} is damaged in the store; see manage.py fsck")
        self.stream = blobs.open(sha256)

    def __enter__(self) -> BinaryIO:
        return self.stream

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def read(self, count: int = CHUNK) -> bytes:
        return self.stream.read(count)
