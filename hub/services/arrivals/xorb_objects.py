"""The xorbs of a chunk store as objects beside the blobs, so that any host takes a xorb and any makes files of them.

    <store>/<hash>.index   what the xorb holds, and the SHA-256 of its bytes where it may be a whole file
    <store>/<hash>.raw     its bytes, unpacked; stored before its index, so a xorb is there where its index is

A name says what the bytes are, so that a xorb that comes twice is the same object. Of whole xorbs and long runs of
chunks the store makes a blob by itself, once the bytes were read and proven.
"""

import contextlib
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

from django.conf import settings

from hub.services.arrivals.xorb_files import Blocks, only_xorb, temporary
from hub.services.content import staging
from hub.services.content.staging.object_store import LEAST_PART, Span, SpanReader, bucket
from hub.services.content.staging.parts import PartsFile
from hub.storage import CHUNK, blobs
from hub.xet.hashing import to_hex
from hub.xet.shards import ShardFile
from hub.xet.xorbs import RawXorb, XorbIndex

DIGEST_BYTES = 64


class XorbObjects:
    """The xorbs whose names begin with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.bucket = prefix, bucket()

    def open(self, digest: bytes) -> RawXorb | None:
        """The xorb; None where it is not here."""
        try:
            index, _ = self._facts(digest)
        except (FileNotFoundError, ValueError):
            return None
        raw = SpanReader(self.bucket, [Span(self._name(digest, "raw"), 0, index.ends[-1])])
        return RawXorb(index, BufferedReader(raw, CHUNK))

    def part(self) -> contextlib.AbstractContextManager[Path]:
        """A name for the bytes of a xorb that comes; gone at the end."""
        return temporary(Path(settings.SPOOL_FOLDER))

    def keep(self, part: Path, index: XorbIndex, sha256: str = "") -> None:
        """Take over the file of its bytes, of which `sha256` may be known."""
        with part.open("rb") as raw:
            self.bucket.put(self._name(index.hash, "raw"), raw)
        self.bucket.put(self._name(index.hash, "index"), sha256.ljust(DIGEST_BYTES).encode() + index.to_bytes())

    def turn(self, digest: bytes) -> contextlib.AbstractContextManager[None]:
        """Each xorb is an object of its own: none follows another."""
        return contextlib.nullcontext()

    def make(self, file: ShardFile, blocks: Blocks, rest: Callable[[int], Blocks]) -> None:
        """Make the file a blob. `blocks` are its bytes, and an error in the end where they are not the file's."""
        xorb, spans = only_xorb(file), self._spans(file)
        if len(spans) * LEAST_PART > file.size + 2 * LEAST_PART:
            blobs.put_proven(blocks, file.sha256)
            return
        if xorb is None or self._facts(xorb)[1] != file.sha256 or not spans[0].whole:
            for _ in blocks:
                pass  # They are proven when they end.
        staging.keep({PartsFile(tuple(spans)): (file.sha256, file.size)})

    def keep_within(self, sha256: str, digest: bytes, begins: int, size: int) -> int:
        """Here a xorb stays what it is, and is gone with its store: no bytes are saved."""
        return 0

    def _facts(self, digest: bytes) -> tuple[XorbIndex, str]:
        """(index, SHA-256 or ""). FileNotFoundError where the xorb is not here."""
        data = b"".join(self.bucket.stream(self._name(digest, "index")))
        return XorbIndex.from_bytes(data[DIGEST_BYTES:]), data[:DIGEST_BYTES].decode().strip()

    def _spans(self, file: ShardFile) -> list[Span]:
        """Where the file's bytes lie; the terms are checked before."""
        spans: list[Span] = []
        indexes: dict[bytes, XorbIndex] = {}
        for term in file.terms():
            if term.xorb not in indexes:
                indexes[term.xorb] = self._facts(term.xorb)[0]
            name, ends = self._name(term.xorb, "raw"), indexes[term.xorb].ends
            begin, end = indexes[term.xorb].raw_range(term.start, term.end)
            if spans and spans[-1].name == name and spans[-1].begin + spans[-1].size == begin:
                begin = spans.pop().begin
            spans.append(Span(name, begin, end - begin, end - begin == ends[-1]))
        return spans

    def _name(self, digest: bytes, what: str) -> str:
        return f"{self.prefix}{to_hex(digest)}.{what}"
