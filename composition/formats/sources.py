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
    """The regular files under a folder by their relative path with slashes; links are left out."""
    root = Path(folder)
    found = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(root).as_posix(): LocalFile(path) for path in found}


def read_start(source: FileSource, count: int) -> bytes:
    """The first `count` bytes."""
    with source.open() as stream:
        return stream.read(count)
