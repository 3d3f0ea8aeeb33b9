"""Manifests: path → (digest, size), the revision id computed from one, and the digest of what makes a version.

A revision's id is the first 40 hex digits of a SHA-256 over canonical JSON, so the same files with the same message on
the same parent are the same revision wherever and however often they are sent.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import BinaryIO, NamedTuple, Protocol

from composition.errors import CompositionError
from composition.formats import FORMATS
from composition.formats.strict_json import strict_loads
from composition.formats.table import Format
from hub.errors import Invalid
from hub.models import ManifestEntry, Revision
from hub.storage import blobs

CARD = "README.md"
MAX_FILES = 2000
MAX_JSON = 1 << 20


class Entry(NamedTuple):
    """A file's bytes: lower-case hex SHA-256, and size in bytes."""

    sha256: str
    size: int


Manifest = dict[str, Entry]


class Source(Protocol):
    """Where a file's bytes can be read, as the validation asks for them."""

    size: int

    def open(self) -> BinaryIO:
        """A seekable stream from the first byte."""


class BlobSource:
    """A file that is in the blob store."""

    def __init__(self, entry: Entry) -> None:
        self.sha256, self.size = entry

    def open(self) -> BinaryIO:
        """A seekable stream from the first byte."""
        return blobs.open(self.sha256)


def read_whole(source: Source, limit: int = MAX_JSON) -> bytes:
    """The bytes of a small file, at most `limit + 1` of them."""
    with source.open() as stream:
        return stream.read(limit + 1)


def canonical_json(value: object) -> bytes:
    """One spelling for equal values: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def revision_oid(*, repository: int, parent: str | None, manifest: Mapping[str, Entry], message: str) -> str:
    """40 hex digits for this content on this parent."""
    content = {
        "repository": repository,
        "parent": parent,
        "manifest": {path: [entry.sha256, entry.size] for path, entry in manifest.items()},
        "message": message,
    }
    return hashlib.sha256(canonical_json(content)).hexdigest()[:40]


def other_oid(*, repository: int, parent: str | None, manifest: Mapping[str, Entry], message: str, version: int) -> str:
    """The id where the plain one is taken: the same files on the same parent, pushed for another base."""
    return revision_oid(repository=repository, parent=parent, manifest=manifest, message=f"{message}\nv{version}")


def manifest_of(revision: Revision | None) -> Manifest:
    """The files of a revision by path; none for None."""
    entries = ManifestEntry.objects.filter(revision=revision).select_related("blob").order_by("path")
    return {entry.path: Entry(entry.blob_id, entry.blob.size) for entry in entries} if revision else {}


def changed(before: Manifest, files: Mapping[str, Entry], deletions: Collection[str], replace: bool) -> Manifest:
    """`before` with `files` put in and `deletions` taken out; with `replace`, `files` alone."""
    missing = sorted(set(deletions) - set(before))
    if missing:
        raise Invalid(
            f"{missing[0]!r} can't be deleted: the branch has no such file.", field="deletions", path=missing[0]
        )
    kept = {} if replace else {path: entry for path, entry in before.items() if path not in deletions}
    after = dict(sorted({**kept, **files}.items()))
    if len(after) > MAX_FILES:
        raise Invalid(
            f"A revision may hold at most {MAX_FILES} files; this one would hold {len(after)}.", field="files"
        )
    return after


def sources_of(manifest: Manifest) -> dict[str, Source]:
    """Where the files lie, all of them in the blob store."""
    return {path: BlobSource(entry) for path, entry in manifest.items()}


def format_of(kind: str, manifest: Manifest) -> Format:
    """The format of a stored manifest in a repository of this kind; it may read the config."""
    return FORMATS.recognise(kind, sources_of(manifest), stored=True)


def content_of(kind: str, manifest: Manifest) -> Manifest:
    """The files that make a version: weights and config, or rows; never the card."""
    row = format_of(kind, manifest)
    return {path: entry for path, entry in manifest.items() if row.content(path)}


def content_digest(kind: str, manifest: Manifest, sources: Mapping[str, Source]) -> str:
    """SHA-256 over what makes a version; "" where there is nothing of it.

    Weights and rows count by their bytes, the config by its values: a new indentation does not make a new version.
    """
    row = FORMATS.recognise(kind, sources, stored=True)
    content: dict[str, object] = {path: entry.sha256 for path, entry in manifest.items() if row.content(path)}
    if row.config in content:
        content[row.config] = _value(row.config, read_whole(sources[row.config])) or content[row.config]
    return hashlib.sha256(canonical_json(content)).hexdigest() if content else ""


def _value(path: str, data: bytes) -> list | None:
    """The JSON value, marked as such; None where it is too large or not JSON, and its bytes stand for it."""
    if len(data) > MAX_JSON:
        return None
    try:
        return ["json", strict_loads(data, area="config", what=path)]
    except CompositionError:
        return None
