"""Bytes of one body become objects: collected in a temporary file, and stored in parts while the next ones come.

A part counts when its row is written, which is when it is told to the sender. What a killed process had not stored by
then, the sender sends again, to any host.
"""

import hashlib
import tempfile
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

from django.conf import settings

from hub import disk
from hub.services.content.staging.object_store import INCOMING, Bucket
from hub.storage import CHUNK

PART = 16 << 20
STORING_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Made:
    """An object that was stored: the file's bytes from `offset` on. `upto` is the file's SHA-256 up to its end."""

    offset: int
    size: int
    name: uuid.UUID
    upto: "hashlib._Hash | None"

    @property
    def sha256(self) -> str:
        """Of the file up to the part's end; "" where it is not known."""
        return self.upto.hexdigest() if self.upto else ""


def object_name(name: uuid.UUID) -> str:
    """Where a part lies in the bucket."""
    return f"{INCOMING}/parts/{name.hex}"


class PartWriter:
    """Writes a file from `at` on. `sha256` is that of what stands before it, None where nobody knows.

    `at` is the end of what was taken, `safe` of what is stored and noted: `note` writes a part's row.
    """

    def __init__(
        self, bucket: Bucket, at: int, sha256: "hashlib._Hash | None", note: Callable[[Made, int], None]
    ) -> None:
        self.bucket, self.at, self.safe, self.sha256, self.note = bucket, at, at, sha256, note
        self._begin = at
        self._spool: IO[bytes] | None = None
        self._storing: Future[Made] | None = None

    def take(self, chunks: Sequence[bytes]) -> None:
        """Take the next bytes, all of them or, with an error, none."""
        if self.at - self._begin >= PART:
            self._store()
        disk.require_room()
        if self._spool is None:
            self._spool = tempfile.SpooledTemporaryFile(max_size=CHUNK, dir=settings.SPOOL_FOLDER)  # noqa: SIM115
        try:
            self._spool.writelines(chunks)
        except BaseException:
            self._spool.seek(self.at - self._begin)
            self._spool.truncate()
            raise
        for chunk in chunks:
            self.at += len(chunk)
            if self.sha256 is not None:
                self.sha256.update(chunk)

    def finish(self) -> None:
        """Store all that was taken; it is safe then."""
        self._store()
        self._settle()

    def drop(self) -> None:
        """Forget what is not stored yet."""
        if self._storing is not None:
            self._storing.cancel()
            self._storing = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self._begin = self.at = self.safe

    def held(self) -> bytes:
        """What was taken and is not on its way to the store."""
        if self._spool is None:
            return b""
        self._spool.seek(0)
        data = self._spool.read()
        self._spool.seek(0, 2)
        return data

    def before(self, size: int) -> bytes:
        """Stored bytes that stand before a part of `size` bytes and become one object with it; none here."""
        return b""

    def _store(self) -> None:
        """Begin to store what is collected, once the part before it is safe."""
        self._settle()
        if self._spool is None:
            return
        spool, size = self._spool, self.at - self._begin
        joined = self.before(size)
        if joined:
            joined_spool = tempfile.SpooledTemporaryFile(max_size=CHUNK, dir=settings.SPOOL_FOLDER)  # noqa: SIM115
            joined_spool.write(joined)
            spool.seek(0)
            while data := spool.read(CHUNK):
                joined_spool.write(data)
            spool.close()
            spool = joined_spool
        upto = self.sha256.copy() if self.sha256 is not None else None
        made = Made(self._begin - len(joined), size + len(joined), uuid.uuid4(), upto)
        self._spool, self._begin = None, self.at
        self._storing = _threads().submit(_put, self.bucket, made, spool)

    def _settle(self) -> None:
        """Wait for the part that is being stored, and note it. A failure stays: nothing more is taken."""
        if self._storing is not None:
            made = self._storing.result()
            end = made.offset + made.size
            self.note(made, self.safe)
            self._storing, self.safe = None, end


def _put(bucket: Bucket, made: Made, spool: IO[bytes]) -> Made:
    with spool:
        spool.seek(0)
        bucket.put(object_name(made.name), spool)
    return made


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(STORING_AT_ONCE, thread_name_prefix="storing")
