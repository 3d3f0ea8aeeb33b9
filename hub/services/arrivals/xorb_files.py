"""The xorbs of a chunk store on the disk.

    <store>/xorbs/<hash>.index   what the xorb holds; a xorb is there where its index is
    <store>/xorbs/<hash>.raw     its bytes, unpacked
    <store>/xorbs/<hash>.within  or: the blob or the run (`xorb_runs`) that holds them, and from where
    <store>/xorbs/<hash>.sha256  of a xorb that may be a whole file: the SHA-256 of its bytes

Every file appears under its name when it is whole, so that a killed process leaves a temporary name and nothing else.
"""

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from hub.services.arrivals import xorb_runs
from hub.services.arrivals.xorb_runs import ENDING, Run, Turn
from hub.storage import CHUNK, blobs
from hub.xet.hashing import to_hex
from hub.xet.shards import ShardFile
from hub.xet.xorbs import RawXorb, XorbIndex

Blocks = Iterator[bytes | memoryview]


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


class XorbFiles:
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

    def part(self) -> contextlib.AbstractContextManager[Path]:
        """A name for the bytes of a xorb that comes; gone at the end unless they are kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return temporary(self.folder)

    def turn(self, digest: bytes) -> contextlib.AbstractContextManager[Turn]:
        """The turn of a full xorb in the run of this store."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return xorb_runs.turn(self.folder, digest, self.append_to)

    def make(self, file: ShardFile, blocks: Blocks, rest: Callable[[int], Blocks]) -> None:
        """Make the file a blob. `blocks` are its bytes, and an error in the end where they are not the file's.

        `rest(at)` are those from a term's begin on, not proven.
        """
        if whole := self._whole(file) or xorb_runs.completed(self.folder, file.places, rest, file.sha256):
            blobs.add(whole, link=True, known=(file.sha256, file.size))
        else:
            blobs.put_proven(blocks, file.sha256)

    def _whole(self, file: ShardFile) -> Path | None:
        """The synced bytes of the file where it is one xorb from its first chunk to its last, and they are proven."""
        xorb = only_xorb(file)
        if xorb is None:
            return None
        try:
            proven = self._path(xorb, "sha256").read_text()
            with self._path(xorb, "raw").open("rb") as raw:
                if proven == file.sha256 and os.fstat(raw.fileno()).st_size == file.size:
                    os.fsync(raw.fileno())
                    return Path(raw.name)
        except FileNotFoundError:
            pass
        return None

    def keep(self, part: Path, index: XorbIndex, sha256: str = "") -> None:
        """Take over the file of its bytes, of which `sha256` may be known."""
        os.replace(part, self._path(index.hash, "raw"))
        if sha256:
            self._write(self._path(index.hash, "sha256"), sha256.encode())
        self._write(self._path(index.hash, "index"), index.to_bytes())

    def keep_in(self, run: Path, begins: int, index: XorbIndex) -> None:
        """Keep a xorb whose bytes lie in a run from `begins` on."""
        self._write(self._path(index.hash, "within"), f"{run.name} {begins}".encode())
        self._write(self._path(index.hash, "index"), index.to_bytes())

    def append_to(self, run: Run, digest: bytes) -> None:
        """Move the bytes of a xorb that is kept behind those of a run. Nothing happens where they lie elsewhere."""
        raw, within = self._path(digest, "raw"), self._path(digest, "within")
        with contextlib.suppress(FileNotFoundError), raw.open("rb", buffering=0) as file, run.writing() as out:
            sha256, size = run.sha256.copy(), os.fstat(file.fileno()).st_size
            while block := file.read(CHUNK):
                out.write(block)
                sha256.update(block)
            out.flush()
            self._write(within, f"{run.path.name} {run.size}".encode())
            run.add(digest, size, sha256)
            raw.unlink()

    def keep_within(self, sha256: str, digest: bytes, begins: int, size: int) -> int:
        """Keep the xorb as `size` bytes of a blob from `begins` on, if these are all it has; the bytes saved."""
        raw, within = self._path(digest, "raw"), self._path(digest, "within")
        with contextlib.suppress(FileNotFoundError):
            if raw.stat().st_size == size:
                self._write(within, f"{sha256} {begins}".encode())
                raw.unlink()
                return size
        with contextlib.suppress(FileNotFoundError, ValueError):
            index = XorbIndex.from_bytes(self._path(digest, "index").read_bytes())
            if ENDING in within.read_text() and index.ends[-1] == size:
                self._write(within, f"{sha256} {begins}".encode())
                return xorb_runs.leave(self.folder, digest)
        return 0

    def _bytes(self, digest: bytes) -> BinaryIO:
        with contextlib.suppress(FileNotFoundError):
            return self._path(digest, "raw").open("rb", buffering=0)
        name, begins = self._within(digest)
        if name.endswith(ENDING):
            with contextlib.suppress(FileNotFoundError):
                return _Within((self.folder / name).open("rb", buffering=0), begins)
            name, begins = self._within(digest)  # In between it has become a blob.
        return _Within(blobs.open(name), begins)

    def _within(self, digest: bytes) -> tuple[str, int]:
        name, begins = self._path(digest, "within").read_text().split()
        return name, int(begins)

    def _path(self, digest: bytes, what: str) -> Path:
        return self.folder / f"{to_hex(digest)}.{what}"

    def _write(self, path: Path, data: bytes) -> None:
        with temporary(self.folder) as part:
            part.write_bytes(data)
            os.replace(part, path)


def only_xorb(file: ShardFile) -> bytes | None:
    """The xorb that the file begins with and that has all of it; None where there are several."""
    terms = list(islice(file.terms(), 2))
    return terms[0].xorb if len(terms) == 1 and not terms[0].start else None


@contextlib.contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """A name for a new file; gone at the end unless it was renamed."""
    part = folder / f"{uuid.uuid4().hex}.part"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)
