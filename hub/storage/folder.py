"""Blobs on a disk: bytes go to a temporary name first, are synced, and appear under their digest by one rename."""

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from hub.storage.hashing import DIGEST, digest

INCOMING = "incoming"


class Folder:
    """The blobs below `root`. Digests are checked by whoever calls."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Where a blob lies, if it does."""
        return self.root / sha256[:2] / sha256[2:4] / sha256

    def exists(self, sha256: str) -> bool:
        return self.path(sha256).exists()

    def size(self, sha256: str) -> int:
        return self.path(sha256).stat().st_size

    def sizes(self, digests: Collection[str]) -> dict[str, int]:
        found = {}
        for sha256 in digests:
            with contextlib.suppress(FileNotFoundError):
                found[sha256] = self.size(sha256)
        return found

    def open(self, sha256: str) -> BinaryIO:
        return self.path(sha256).open("rb")

    def delete(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    def modified(self, sha256: str) -> datetime:
        return datetime.fromtimestamp(self.path(sha256).stat().st_mtime, UTC)

    def add(self, path: Path, *, link: bool, known: tuple[str, int] | None) -> tuple[str, int]:
        with open(path, "rb") as source:
            if link:
                sha256, size = known or digest(source)
                if self.refresh(sha256) or self._link(path, sha256):
                    return sha256, size
                source.seek(0)
            return self.put(source, lambda *_: None)

    def put(self, stream: BinaryIO, accept: Callable[[str, int], None]) -> tuple[str, int]:
        with self._temporary() as temporary:
            with open(temporary, "wb") as out:
                sha256, size = digest(stream, out)
                out.flush()
                os.fsync(out.fileno())
            accept(sha256, size)
            if not self.refresh(sha256):
                self._place(temporary, sha256)
        return sha256, size

    def put_proven(self, blocks: Iterable[bytes | memoryview], sha256: str) -> None:
        with self._temporary() as temporary:
            with open(temporary, "wb", buffering=0) as out:
                for block in blocks:
                    out.write(block)
                os.fsync(out.fileno())
            if not self.refresh(sha256):
                self._place(temporary, sha256)

    def ask(self) -> None:
        """OSError where the disk can't be read; the folder is made with the first blob."""
        self.root.exists()

    def require(self) -> None:
        """OSError where the folder isn't there: an unmounted disk, not a store without bytes."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"the blob store {self.root} is not there; is its disk mounted?")

    def probe(self) -> None:
        """Write as a blob would be written."""
        with self._temporary() as temporary:
            temporary.touch()

    def explain(self, error: Exception) -> str:
        """A sentence on why the folder can't be used."""
        return f"The folder of STORAGE_URL, {self.root}, can't be written ({error}). Mount it, or let this user write."

    def walk(self) -> Iterator[str]:
        for first in _folders(self.root):
            for second in _folders(first):
                yield from (name for name in sorted(os.listdir(second)) if DIGEST.fullmatch(name))

    def sweep(self, before: datetime, *, dry_run: bool) -> int:
        removed = 0
        incoming = self.root / INCOMING
        for path in incoming.iterdir() if incoming.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # Its writer was done with it in between.
                if path.stat().st_mtime < before.timestamp():
                    if not dry_run:
                        path.unlink()
                    removed += 1
        return removed

    def refresh(self, sha256: str) -> bool:
        """True if the bytes are here already; their age begins anew, so that the collector leaves them."""
        try:
            os.utime(self.path(sha256))
        except FileNotFoundError:
            return False
        return True

    def _link(self, path: Path, sha256: str) -> bool:
        """Give the file a second name under its digest; False where that can't be done (another disk)."""
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        incoming = self.root / INCOMING / uuid.uuid4().hex
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
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.chmod(0o444)
        os.replace(temporary, target)
        sync_folder(target.parent)

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[Path]:
        """A name for a new file; gone at the end unless it was renamed."""
        folder = self.root / INCOMING
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{uuid.uuid4().hex}.part"
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


def _folders(parent: Path) -> list[Path]:
    try:
        return sorted(path for path in parent.iterdir() if re.fullmatch(r"[0-9a-f]{2}", path.name))
    except FileNotFoundError:
        return []
