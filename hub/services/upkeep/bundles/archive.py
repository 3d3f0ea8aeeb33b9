"""A bundle's file: an uncompressed tar of manifest.json, signature.json, and blobs/<sha256> in the manifest's order.

Nothing is unpacked to a path. The reader takes one header of 512 bytes after the other and accepts the name and size
that must come next, or refuses: no link, no extension header, no second file of a name gets further than its header.
Nothing is compressed, so a bundle never grows.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from hub.errors import Invalid
from hub.storage import CHUNK

BLOCK, RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE
MANIFEST, SIGNATURE, BLOBS = "manifest.json", "signature.json", "blobs/"
MOST_MANIFEST, MOST_SIGNATURE = 64_000_000, 1000
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)


def write(out: BinaryIO, manifest: bytes, signature: bytes, files: Iterable[tuple[str, int, BinaryIO]]) -> None:
    """Write a bundle; `files` are (sha256, size, stream)."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in ((MANIFEST, manifest), (SIGNATURE, signature)):
            _add(tar, name, len(data), io.BytesIO(data))
        for sha256, size, stream in files:
            with stream:
                _add(tar, BLOBS + sha256, size, stream)


def _add(tar: tarfile.TarFile, name: str, size: int, stream: BinaryIO) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    tar.addfile(entry, stream)


class Reader:
    """Reads a bundle from its first byte to its last; Invalid `bundle.file` for anything but the next thing due."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def small(self, name: str, most: int) -> bytes:
        """The whole of the file that comes next."""
        with self.file(name, None, most) as part:
            return part.read(most)

    def file(self, name: str, size: int | None, most: int | None = None) -> "_Part":
        """The file that comes next, which must have this name, and this size or at most `most` bytes."""
        block = self.stream.read(BLOCK)
        try:
            entry = tarfile.TarInfo.frombuf(block, "ascii", "strict")
        except (tarfile.HeaderError, UnicodeError) as error:
            raise _bad(f"{name} should come next, and there is no file ({error})") from None
        if entry.type not in PLAIN or entry.name != name:
            raise _bad(f"{name} should come next, and there is {entry.name[:100]!r} of type {entry.type!r}")
        if entry.size < 0 or (size is not None and entry.size != size) or (most is not None and entry.size > most):
            raise _bad(f"{name} has {entry.size:,} bytes, not {f'{size:,}' if size is not None else f'up to {most:,}'}")
        return _Part(self.stream, name, entry.size)

    def end(self) -> None:
        """Nothing but the tar's own zeros may follow."""
        rest = self.stream.read(RECORD + 2 * BLOCK + 1)
        if rest.strip(b"\0") or len(rest) > RECORD + 2 * BLOCK:
            raise _bad("more follows than its manifest lists")


class _Part:
    """One file inside: a stream that ends with it. Closing it skips to the next header."""

    def __init__(self, stream: BinaryIO, name: str, size: int) -> None:
        self.stream, self.name, self.left = stream, name, size
        self.padding = -size % BLOCK

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *failure: object) -> None:
        if failure[0] is None:
            for _ in self._chunks():
                pass
            if len(self.stream.read(self.padding)) != self.padding:
                raise _bad(f"it ends within {self.name}")

    def read(self, count: int = CHUNK) -> bytes:
        """Up to `count` bytes, b"" at the end of this file."""
        wanted = min(count if count >= 0 else CHUNK, self.left)
        chunk = self.stream.read(wanted) if wanted else b""
        if wanted and not chunk:
            raise _bad(f"it ends within {self.name}, {self.left:,} bytes early")
        self.left -= len(chunk)
        return chunk

    def _chunks(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK):
            yield chunk


def _bad(what: str) -> Invalid:
    return Invalid(f"This is not a whole bundle: {what}. Export or copy it again.", code="bundle.file")
