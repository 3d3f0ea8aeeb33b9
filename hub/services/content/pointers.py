"""Git's view of stored files, as the Hugging Face protocol shows it: which are LFS, and the id that git gives each.

Nothing of it is stored by path: the `.gitattributes` of a revision decides what is LFS in it. An LFS file is known by
its SHA-256, and git keeps its pointer (git-lfs, docs/spec.md); any other file by git's own SHA-1, which is computed
when it is first asked for and kept with the blob.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from hub.models import Blob
from hub.services.commits.attributes import (
    DEFAULT_ATTRIBUTES,
    FILE,
    MAX_BYTES,
    Attributes,
    parse,
    stored_as_lfs,
)
from hub.services.content.manifest import BlobSource, Entry, Manifest, Source, read_whole
from hub.storage import CHUNK, blobs

__all__ = ["GitFile", "attributes_of", "git_files", "git_oid", "pointer", "pointer_oid", "stored_as_lfs"]


@dataclass(frozen=True, slots=True)
class GitFile:
    """A file as git has it. `oid` is the SHA-1 of what git keeps: the bytes, or with `is_lfs` their pointer."""

    path: str
    size: int
    sha256: str
    oid: str
    is_lfs: bool

    @property
    def etag(self) -> str:
        """What the file's bytes are known by: SHA-256 of LFS, git's SHA-1 else."""
        return self.sha256 if self.is_lfs else self.oid

    @property
    def pointer_size(self) -> int:
        """Bytes of the pointer."""
        return len(pointer(Entry(self.sha256, self.size)))


def attributes_of(manifest: Manifest, sources: Mapping[str, Source] = {}) -> Attributes:
    """What the manifest's own `.gitattributes` says, the default where it has none.

    `sources` are files that are not in the blob store yet.
    """
    if FILE not in manifest:
        return DEFAULT_ATTRIBUTES
    return parse(read_whole(sources.get(FILE) or BlobSource(manifest[FILE]), MAX_BYTES))


def pointer(entry: Entry) -> bytes:
    """The text that git keeps of an LFS file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{entry.sha256}\nsize {entry.size}\n".encode()


def pointer_oid(entry: Entry) -> str:
    """Git's SHA-1 of an LFS file's pointer, 40 hex digits."""
    text = pointer(entry)
    return hashlib.sha1(b"blob %d\0" % len(text) + text, usedforsecurity=False).hexdigest()


def git_oid(entry: Entry) -> str:
    """Git's SHA-1 of a stored file's bytes, 40 hex digits."""
    return _git_oids({entry})[entry.sha256]


def git_files(manifest: Manifest, attributes: Attributes | None = None) -> dict[str, GitFile]:
    """Path → the file as git has it, of any part of a revision's manifest; `attributes` are the whole revision's."""
    attributes = attributes_of(manifest) if attributes is None else attributes
    lfs = {path: stored_as_lfs(path, entry.size, attributes) for path, entry in manifest.items()}
    oids = _git_oids({entry for path, entry in manifest.items() if not lfs[path]})
    return {
        path: GitFile(path, size, sha256, pointer_oid(Entry(sha256, size)) if lfs[path] else oids[sha256], lfs[path])
        for path, (sha256, size) in manifest.items()
    }


def _git_oids(entries: set[Entry]) -> dict[str, str]:
    """SHA-256 → git's SHA-1; those that nobody asked for before are computed from the bytes and kept."""
    rows = Blob.objects.filter(pk__in=[entry.sha256 for entry in entries]).exclude(git_oid="")
    known = dict(rows.values_list("pk", "git_oid"))
    fresh = {entry.sha256: _sha1(entry) for entry in entries if entry.sha256 not in known}
    for sha256, oid in fresh.items():
        Blob.objects.filter(pk=sha256, git_oid="").update(git_oid=oid)
    return known | fresh


def _sha1(entry: Entry) -> str:
    computed = hashlib.sha1(b"blob %d\0" % entry.size, usedforsecurity=False)
    with blobs.open(entry.sha256) as stream:
        while chunk := stream.read(CHUNK):
            computed.update(chunk)
    return computed.hexdigest()
