"""Uploads by Xet: xorbs are kept once they are proven, and a shard makes whole files of them, proven by SHA-256.

    <store>/xorbs/<hash>.index   what the xorb holds; a xorb is there where its index is
    <store>/xorbs/<hash>.raw     its bytes, unpacked
    <store>/xorbs/<hash>.within  or: the blob that holds them, and from where

Every file appears under its name when it is whole, so that a killed process leaves a temporary name and nothing else.
Once a file is made, those of its xorbs that it holds in one piece are kept by reference: their bytes are in the blob.
"""

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hub import disk
from hub.models import Arrival, ChunkStore
from hub.services.arrivals import receiving, stores
from hub.services.content.manifest import Entry
from hub.storage import CHUNK, blobs
from hub.xet.errors import XetError
from hub.xet.files import rebuild
from hub.xet.hashing import from_hex, to_hex
from hub.xet.shards import MAX_BYTES as MOST_OF_A_SHARD
from hub.xet.shards import ShardFile, read_shard
from hub.xet.xorbs import MAX_BODY, RawXorb, XorbIndex, receive_xorb

# A xorb's footer repeats its index; a body of more than this has something else behind it.
MOST_OF_A_XORB = MAX_BODY + (1 << 20)


def put_xorb(*, store: ChunkStore, name: str, stream: BinaryIO, length: int) -> bool:
    """Keep the xorb that `stream` holds if it is what `name`, its written hash, says; False where it was there.

    `length` is what the sender announced. Errors: XetError, QuotaExceeded `quota.staged_bytes`, DiskFull.
    """
    digest = from_hex(name)
    if length > MOST_OF_A_XORB:
        raise XetError("xorb_too_large", f"The xorb has {length:,} bytes; send at most {MAX_BODY:,}.", xorb=name)
    stores.expect(store, length)
    xorbs = _Xorbs(stores.folder(store))
    if xorbs.open(digest):
        while stream.read(CHUNK):
            pass
        return False
    xorbs.folder.mkdir(parents=True, exist_ok=True)
    with _temporary(xorbs.folder) as part:
        with part.open("wb", buffering=CHUNK) as out:
            index = receive_xorb(stream, digest, out.write)
        stores.charge(store, index.ends[-1])
        xorbs.keep(part, index)
    return True


def put_shard(*, store: ChunkStore, stream: BinaryIO) -> list[Arrival]:
    """Make the files of a shard from the store's xorbs; each is an arrival then.

    Errors: XetError, and what `arrivals.expect` raises. The store is closed by a XetError: whatever was wrong, the
    client's next try begins at another address and sends all that is needed.
    """
    body = stream.read(MOST_OF_A_SHARD + 1)
    try:
        shard = read_shard(body)
        files = {Entry(file.sha256, file.size): file for file in shard.files}
        stores.expect(store, sum(entry.size for entry in files))
        return [_make(store, entry, file) for entry, file in files.items()]
    except XetError:
        stores.close(store)
        raise


def _make(store: ChunkStore, entry: Entry, file: ShardFile) -> Arrival:
    actor, repository = store.user, store.repository
    receiving.expect(actor=actor, repository=repository, entry=entry)
    if Arrival.objects.filter(user=actor, repository=repository, blob=entry.sha256, blob__size=entry.size).exists():
        # Made before: a small shard sent again and again must not cost its large file each time.
        return receiving.note(actor=actor, repository=repository, entry=entry)
    xorbs = _Xorbs(stores.folder(store))
    try:
        blobs.put_proven(_watched(rebuild(file, xorbs.open, max_bytes=entry.size)), entry.sha256)
    except OSError as error:
        if disk.refusal_of(error):
            raise
        raise XetError(
            "xorb_unknown", "The bytes of a xorb are not here any more. Upload the file again.", sha256=entry.sha256
        ) from error
    arrival = receiving.note(actor=actor, repository=repository, entry=entry)
    if blobs.folder is not None:
        stores.discharge(store, sum(xorbs.keep_within(entry.sha256, *run) for run in _runs(file)))
    return arrival


def _runs(file: ShardFile) -> Iterator[tuple[bytes, int, int]]:
    """(xorb, where it begins in the file, its bytes) of neighbouring terms that take a xorb's chunks from the first."""
    at = begins = end = 0
    xorb = None
    for term in file.terms():
        if term.xorb != xorb or term.start != end:
            if xorb:
                yield xorb, begins, at - begins
            xorb, begins = (term.xorb, at) if term.start == 0 else (None, at)
        at, end = at + term.length, term.end
    if xorb:
        yield xorb, begins, at - begins


def _watched(blocks: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    for number, block in enumerate(blocks):
        if number % 16 == 0:
            disk.require_room()
        yield block


@dataclass(frozen=True, slots=True)
class _Within:
    """A part of a blob, as a file that `RawXorb` reads: positions count from where the part begins."""

    file: BinaryIO
    begins: int

    def seek(self, at: int) -> None:
        self.file.seek(self.begins + at)

    def read(self, size: int) -> bytes:
        return self.file.read(size)

    def close(self) -> None:
        self.file.close()


class _Xorbs:
    """The xorbs of one store on the disk."""

    def __init__(self, store: Path) -> None:
        self.folder = store / "xorbs"

    def open(self, digest: bytes) -> RawXorb | None:
        """The xorb; None where it is not here, or not whole."""
        try:
            index = XorbIndex.from_bytes(self._path(digest, "index").read_bytes())
            file = self._bytes(digest)
        except (FileNotFoundError, ValueError):
            return None
        return RawXorb(index, file)

    def keep(self, part: Path, index: XorbIndex) -> None:
        """Take over the file of its bytes."""
        os.replace(part, self._path(index.hash, "raw"))
        self._write(self._path(index.hash, "index"), index.to_bytes())

    def keep_within(self, sha256: str, digest: bytes, begins: int, size: int) -> int:
        """Keep the xorb as `size` bytes of a blob from `begins` on, if these are all it has; the bytes saved."""
        raw = self._path(digest, "raw")
        with contextlib.suppress(FileNotFoundError):
            if raw.stat().st_size == size:
                self._write(self._path(digest, "within"), f"{sha256} {begins}".encode())
                raw.unlink()
                return size
        return 0

    def _bytes(self, digest: bytes) -> BinaryIO:
        try:
            return self._path(digest, "raw").open("rb", buffering=0)
        except FileNotFoundError:
            sha256, begins = self._path(digest, "within").read_text().split()
            return _Within(blobs.open(sha256), int(begins))

    def _path(self, digest: bytes, what: str) -> Path:
        return self.folder / f"{to_hex(digest)}.{what}"

    def _write(self, path: Path, data: bytes) -> None:
        with _temporary(self.folder) as part:
            part.write_bytes(data)
            os.replace(part, path)


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    part = folder / f"{uuid.uuid4().hex}.part"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
