"""Where the bytes of an upload come from: a blob, a local file, or memory."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


class FileSource(Protocol):
    """One file: its size in bytes, and a seekable stream of them that the caller closes."""

    @property
    def size(self) -> int: ...

    def open(self) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine's disk."""

    path: Path

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def open(self) -> BinaryIO:
        return self.path.open("rb")


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """Bytes at hand."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


Files = Mapping[str, FileSource]


def local_files(folder: str | Path) -> dict[str, FileSource]:
    """The files under a folder by their relative path with slashes.

    A link to a file counts as the file: the snapshots of the Hugging Face cache hold nothing else. Links to folders
    are not followed, and a link to nothing is left out.
    """
    root = Path(folder)
    return {path.relative_to(root).as_posix(): LocalFile(path) for path in sorted(root.rglob("*")) if path.is_file()}


def read_start(source: FileSource, count: int) -> bytes:
    """The first `count` bytes."""
    with source.open() as stream:
        return stream.read(count)
