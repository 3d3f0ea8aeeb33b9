"""`BlobStore`: what everybody asks for bytes by their SHA-256, wherever they are.

A blob is stored under `aa/bb/<sha256>`, and only this package computes that name, so no client's word reaches the
file system or the bucket.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from django.core.files.storage import storages

from hub import faults
from hub.storage.folder import Folder
from hub.storage.hashing import DIGEST
from hub.storage.objects import Objects


class BlobStore:
    """Bytes by their SHA-256. Knows no rows: `Blob` rows are made by the services that refer to the bytes."""

    @property
    def _place(self) -> Folder | Objects:
        storage = storages["blobs"]
        try:
            return Folder(Path(storage.path("")))
        except NotImplementedError:
            return Objects(storage)

    def name(self, sha256: str) -> str:
        """The name in the storage; ValueError if `sha256` is not 64 lower-case hex digits."""
        if not DIGEST.fullmatch(sha256):
            raise ValueError(f"not a SHA-256: {sha256!r}")
        return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"

    def exists(self, sha256: str) -> bool:
        """True if the bytes are here."""
        self.name(sha256)
        return self._place.exists(sha256)

    def size(self, sha256: str) -> int:
        """Bytes of the blob; FileNotFoundError if it is not here."""
        self.name(sha256)
        return self._place.size(sha256)

    def sizes(self, digests: Collection[str]) -> dict[str, int]:
        """Bytes of each of these blobs that is here; in S3 several are asked for at once."""
        for sha256 in digests:
            self.name(sha256)
        return self._place.sizes(digests)

    def open(self, sha256: str) -> BinaryIO:
        """A seekable binary stream of the blob, which reads only what is asked; FileNotFoundError if it is not here."""
        self.name(sha256)
        return self._place.open(sha256)

    def address(self, sha256: str, filename: str, seconds: int) -> str | None:
        """A signed address where anyone may fetch this blob for so many seconds, as `filename`; None on a disk."""
        self.name(sha256)
        place = self._place
        return place.address(sha256, filename, seconds) if isinstance(place, Objects) else None

    def local_path(self, sha256: str) -> Path | None:
        """Where the blob lies on this machine's disk; None if the storage is elsewhere."""
        name = self.name(sha256)
        return self.folder and self.folder / name

    def add(
        self, path: str | os.PathLike, *, link: bool = False, known: tuple[str, int] | None = None
    ) -> tuple[str, int]:
        """Store the file at `path`; its (sha256, size). With `link` that file must never be written to again.

        `known` is what it is, where the caller has computed that from these very bytes.
        """
        return self._place.add(Path(path), link=link, known=known)

    def put(self, stream: BinaryIO, *, accept: Callable[[str, int], None] = lambda *_: None) -> tuple[str, int]:
        """Store what `stream` still holds; its (sha256, size), which `accept` may refuse before anything is stored."""
        return self._place.put(stream, accept)

    def put_proven(self, blocks: Iterable[bytes | memoryview], sha256: str) -> None:
        """Store blocks that are known to be the bytes of `sha256` once they end: an error before it stores nothing."""
        self.name(sha256)
        self._place.put_proven(blocks, sha256)

    def refresh(self, sha256: str) -> bool:
        """True if the bytes are here already; their age begins anew, so that the collector leaves them."""
        self.name(sha256)
        return self._place.refresh(sha256)

    def delete(self, sha256: str) -> None:
        """Remove the bytes; nothing happens where there are none."""
        self.name(sha256)
        self._place.delete(sha256)

    def modified(self, sha256: str) -> datetime:
        """When the bytes were last stored or found again; FileNotFoundError if they are not here."""
        self.name(sha256)
        return self._place.modified(sha256)

    def require(self) -> None:
        """An error where the store itself isn't there (an unmounted disk, no such bucket), not one without bytes."""
        self._place.require()

    def ask(self) -> None:
        """The store's error where it can't be read at this moment, or ever."""
        self._place.ask()

    def answers(self) -> bool:
        """False while the store is away; a wrong key or a missing bucket is an answer."""
        try:
            self.ask()
        except Exception as error:
            return not faults.passing(error)
        return True

    def trouble(self) -> str:
        """What is wrong with the store for good, and what to set, as a sentence; "" where it can be used or is away."""
        try:
            self._place.probe()
        except Exception as error:
            return "" if faults.passing(error) else self._place.explain(error)
        return ""

    @property
    def folder(self) -> Path | None:
        """The folder on this machine's disk that holds the bytes; None if the storage is elsewhere."""
        place = self._place
        return place.root if isinstance(place, Folder) else None

    def walk(self) -> Iterator[str]:
        """The digest of every blob stored, in order."""
        return self._place.walk()

    def sweep_incoming(self, before: datetime, *, dry_run: bool = False) -> int:
        """Remove what killed processes began to store before that time; how many. `dry_run` counts only."""
        return self._place.sweep(before, dry_run=dry_run)


blobs = BlobStore()
