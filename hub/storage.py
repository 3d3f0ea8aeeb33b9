"""Content-addressed bytes over Django's storage API: a local folder, or S3 by django-storages.

A blob is stored under `aa/bb/<sha256>`, and only this module computes that name, so no client's word reaches the file
system. On a disk bytes go to a temporary name first, are synced, and appear under their digest by one rename.
"""

import contextlib
import hashlib
import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from django.core.files import File
from django.core.files.storage import Storage, storages
from django.utils import timezone

DIGEST = re.compile(r"[0-9a-f]{64}")
CHUNK = 1 << 20
INCOMING = "incoming"


class BlobStore:
    """Bytes by their SHA-256. Knows no rows: `Blob` rows are made by the services that refer to the bytes."""

    @property
    def _storage(self) -> Storage:
        return storages["blobs"]

    def name(self, sha256: str) -> str:
        """The name in the storage; ValueError if `sha256` is not 64 lower-case hex digits."""
        if not DIGEST.fullmatch(sha256):
            raise ValueError(f"not a SHA-256: {sha256!r}")
        return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"

    def exists(self, sha256: str) -> bool:
        """True if the bytes are here."""
        return self._storage.exists(self.name(sha256))

    def size(self, sha256: str) -> int:
        """Bytes of the blob; FileNotFoundError if it is not here."""
        return self._storage.size(self.name(sha256))

    def open(self, sha256: str) -> BinaryIO:
        """A seekable binary stream of the blob; FileNotFoundError if it is not here."""
        return self._storage.open(self.name(sha256), "rb")

    def local_path(self, sha256: str) -> Path | None:
        """Where the blob lies on this machine's disk; None if the storage is elsewhere."""
        try:
            return Path(self._storage.path(self.name(sha256)))
        except NotImplementedError:
            return None

    def add(
        self, path: str | os.PathLike, *, link: bool = False, known: tuple[str, int] | None = None
    ) -> tuple[str, int]:
        """Store the file at `path`; its (sha256, size). With `link` that file must never be written to again.

        `known` is what it is, where the caller has computed that from these very bytes.
        """
        with open(path, "rb") as source:
            if link and self._root is not None:
                sha256, size = known or digest(source)
                if self._refresh(sha256) or self._link(Path(path), sha256):
                    return sha256, size
                source.seek(0)
            return self.put(source)

    def put(self, stream: BinaryIO, *, accept: Callable[[str, int], None] = lambda *_: None) -> tuple[str, int]:
        """Store what `stream` still holds; its (sha256, size), which `accept` may refuse before anything is stored."""
        folder = self._root / INCOMING if self._root is not None else None
        with _temporary(folder) as temporary:
            with open(temporary, "wb") as out:
                sha256, size = digest(stream, out)
                out.flush()
                os.fsync(out.fileno())
            accept(sha256, size)
            if not self._refresh(sha256):
                self._place(temporary, sha256)
        return sha256, size

    def put_proven(self, blocks: Iterable[bytes | memoryview], sha256: str) -> None:
        """Store blocks that are known to be the bytes of `sha256` once they end: an error before it stores nothing."""
        folder = self._root / INCOMING if self._root is not None else None
        with _temporary(folder) as temporary:
            with open(temporary, "wb", buffering=0) as out:
                for block in blocks:
                    out.write(block)
                os.fsync(out.fileno())
            if not self._refresh(sha256):
                self._place(temporary, sha256)

    def delete(self, sha256: str) -> None:
        """Remove the bytes; nothing happens where there are none."""
        self._storage.delete(self.name(sha256))

    def modified(self, sha256: str) -> datetime:
        """When the bytes were last stored or found again; FileNotFoundError if they are not here."""
        return self._storage.get_modified_time(self.name(sha256))

    def require(self) -> None:
        """OSError where the store is a folder that isn't there: an unmounted disk, not a store without bytes."""
        if self._root is not None and not self._root.is_dir():
            raise FileNotFoundError(f"the blob store {self._root} is not there; is its disk mounted?")

    @property
    def folder(self) -> Path | None:
        """The folder on this machine's disk that holds the bytes; None if the storage is elsewhere."""
        return self._root

    def walk(self) -> Iterator[str]:
        """The digest of every blob stored, in order."""
        for first in self._folders(""):
            for second in self._folders(first):
                for name in sorted(self._storage.listdir(f"{first}/{second}")[1]):
                    if DIGEST.fullmatch(name):
                        yield name

    def sweep_incoming(self, before: datetime, *, dry_run: bool = False) -> int:
        """Remove temporary files that a killed process left before that time; how many. `dry_run` counts them only."""
        removed = 0
        if self._root is not None and (self._root / INCOMING).is_dir():
            for path in (self._root / INCOMING).iterdir():
                with contextlib.suppress(FileNotFoundError):  # Its writer was done with it in between.
                    if path.stat().st_mtime < before.timestamp():
                        if not dry_run:
                            path.unlink()
                        removed += 1
        return removed

    @property
    def _root(self) -> Path | None:
        try:
            return Path(self._storage.path(""))
        except NotImplementedError:
            return None

    def _folders(self, parent: str) -> list[str]:
        try:
            folders = self._storage.listdir(parent)[0]
        except FileNotFoundError:
            return []
        return sorted(name for name in folders if re.fullmatch(r"[0-9a-f]{2}", name))

    def _refresh(self, sha256: str) -> bool:
        """True if the bytes are here already; their age begins anew, so that the collector leaves them."""
        if not self.exists(sha256):
            return False
        path = self.local_path(sha256)
        if path is None:
            # An object store has no touch: bytes older than an hour are written again.
            return (timezone.now() - self.modified(sha256)).total_seconds() < 3600
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def _link(self, path: Path, sha256: str) -> bool:
        """Give the file a second name under its digest; False where that can't be done (another disk)."""
        target = self.local_path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        incoming = self._root / INCOMING / uuid.uuid4().hex
        incoming.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, incoming)
        except OSError:
            return False
        os.utime(incoming)
        os.replace(incoming, target)
        incoming.unlink(missing_ok=True)
        sync_folder(target.parent)
        return True

    def _place(self, temporary: Path, sha256: str) -> None:
        target = self.local_path(sha256)
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.chmod(0o444)
            os.replace(temporary, target)
            sync_folder(target.parent)
            return
        name = self.name(sha256)
        with open(temporary, "rb") as source:
            given = self._storage.save(name, File(source))
        if given != name:
            # The storage doesn't overwrite, and the same bytes were there already.
            self._storage.delete(given)


def digest(stream: BinaryIO, out: BinaryIO | None = None) -> tuple[str, int]:
    """(sha256, size) of what `stream` still holds, copied to `out` on the way."""
    computed, size = hashlib.sha256(), 0
    while chunk := stream.read(CHUNK):
        computed.update(chunk)
        size += len(chunk)
        if out is not None:
            out.write(chunk)
    return computed.hexdigest(), size


@contextlib.contextmanager
def _temporary(folder: Path | None) -> Iterator[Path]:
    """A name for a new file; gone at the end unless it was renamed."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    path = Path(folder or tempfile.gettempdir()) / f"{uuid.uuid4().hex}.part"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


blobs = BlobStore()
