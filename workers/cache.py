"""Inputs as folders: a version's files are fetched from the store once, checked by digest, and shared by jobs.

A folder is named by the digest of its manifest and appears by one rename, so workers may share one cache, and a killed
worker leaves nothing that looks complete. If store and cache are on one disk, files are hard links and cost nothing.
What is made from versions and safe to lose, such as their Grams, lies beside them as a folder with one file (`keep`).
Above the budget, the least recently used folders are removed first; a folder used within `keep_seconds` is never
removed. What a job at work uses is held: the heartbeat touches it, so that no other worker takes it for unused. A
folder that was being filled counts as a dead worker's after HUB_KEEP_UNUSED_HOURS without a write, as for gc.
"""

import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

from hub.services.content.manifest import Entry, canonical_json
from hub.services.upkeep.garbage import touched
from hub.storage import blobs, digest

PART = ".part-"
KEPT = "kept"

log = logging.getLogger(__name__)


class Cache:
    """Folders of blobs under `root`, at most `budget` bytes in all."""

    def __init__(self, root: str | os.PathLike, budget: int, keep_seconds: float = 3600) -> None:
        self.root = Path(root)
        self.budget = budget
        self.keep_seconds = keep_seconds
        self._held: set[Path] = set()

    @staticmethod
    def key(files: Mapping[str, Entry]) -> str:
        """The name of the folder that holds `files`."""
        return hashlib.sha256(canonical_json({path: entry.sha256 for path, entry in files.items()})).hexdigest()

    def folder(self, files: Mapping[str, Entry]) -> Path:
        """A folder that holds `files` (path → (sha256, size)); treat it as read-only. It is held.

        Raises OSError if the store's bytes don't match the digest.
        """
        target = self.root / self.key(files)
        if self._whole(target, files):
            os.utime(target)
            return self.hold(target)
        self.make_room(sum(entry.size for entry in files.values()), spare={target})
        with self.unfinished() as work:
            for path, entry in files.items():
                self.fetch(entry, work / path)
            shutil.rmtree(target, ignore_errors=True)
            try:
                work.rename(target)
            except OSError:
                # Another worker was first; its folder holds the same bytes.
                if not self._whole(target, files):
                    raise
        return self.hold(target)

    def kept(self, name: str) -> bytes | None:
        """What was kept under a name; None where there is nothing (any more)."""
        folder = self.root / name
        try:
            os.utime(folder)
            return (folder / KEPT).read_bytes()
        except OSError:
            return None

    def keep(self, made: Mapping[str, bytes]) -> None:
        """Keep made bytes by name, in place of what stood there. What can't be written is left out, and logged."""
        names = {self.root / name for name in made}
        self.make_room(sum(map(len, made.values())), spare=names)
        for folder in names:
            try:
                with self.unfinished() as work:
                    (work / KEPT).write_bytes(made[folder.name])
                    shutil.rmtree(folder, ignore_errors=True)
                    work.rename(folder)
            except OSError as error:
                log.warning("%s is not kept: %s", folder.name, error)

    def made(self, key: str, fill: Callable[[Path], None]) -> Path:
        """The folder of what follows from a digest alone, filled by `fill(folder)` where it isn't there. It is held."""
        target = self.root / key
        if target.is_dir():
            os.utime(target)
            return self.hold(target)
        with self.unfinished() as work:
            fill(work)
            self.make_room(0, spare={target})
            try:
                work.rename(target)
            except OSError:
                # Another worker was first; its folder holds the same.
                if not target.is_dir():
                    raise
        return self.hold(target)

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """A folder to fill, held while the block runs, and removed after it unless it was renamed."""
        self.root.mkdir(parents=True, exist_ok=True)
        work = self.hold(Path(tempfile.mkdtemp(prefix=PART, dir=self.root)))
        try:
            yield work
        finally:
            self._held.discard(work)
            shutil.rmtree(work, ignore_errors=True)

    def hold(self, folder: Path) -> Path:
        """Keep a folder of this cache from other workers until `let_go`, as long as `touch` is called; the folder."""
        self._held.add(folder)
        return folder

    def touch(self) -> None:
        """Say that what is held is in use. Another thread may do it."""
        for folder in tuple(self._held):
            with suppress(OSError):
                os.utime(folder)

    def let_go(self) -> None:
        """Hold nothing any more."""
        self._held.clear()

    def size(self) -> int:
        """Bytes of everything cached."""
        return sum(size_of(folder) for folder in self._folders())

    def fetch(self, entry: Entry, target: Path) -> None:
        """Put a file of the store at `target`, by a link where it can be; OSError where it holds other bytes."""
        target.parent.mkdir(parents=True, exist_ok=True)
        local = blobs.local_path(entry.sha256)
        linked = False
        if local is not None:
            try:
                os.link(local, target)
                linked = True
            except OSError as error:
                log.debug("copying %s, because it can't be linked: %s", entry.sha256, error)
        if linked:
            with open(target, "rb") as source:
                sha256, size = digest(source)
        else:
            with blobs.open(entry.sha256) as source, open(target, "wb") as out:
                sha256, size = digest(source, out)
        if (sha256, size) != entry:
            raise OSError(f"the store holds other bytes under {entry.sha256}: {size} bytes of {sha256}")

    def _whole(self, folder: Path, files: Mapping[str, Entry]) -> bool:
        try:
            return all((folder / path).stat().st_size == entry.size for path, entry in files.items())
        except OSError:
            return False

    def _folders(self) -> list[Path]:
        return [path for path in self.root.iterdir() if path.is_dir()] if self.root.is_dir() else []

    def make_room(self, needed: int, spare: Set[Path]) -> None:
        """Remove the least recently used folders, and what killed workers left unfinished."""
        used = sorted((path.stat().st_mtime, path) for path in self._folders() if path not in spare)
        total = sum(size_of(path) for _, path in used) + needed
        for when, path in used:
            if path.name.startswith(PART):
                goes = time.time() - touched(path) > settings.KEEP_UNUSED_HOURS * 3600
            else:
                goes = total > self.budget and time.time() - when > self.keep_seconds
            if goes:
                total -= size_of(path)
                shutil.rmtree(path, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
