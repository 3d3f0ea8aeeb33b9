"""Bytes of one body become objects: collected in a temporary file, and stored in parts while the next ones come.

A part counts when its row is written, which is when it is told to the sender. What a killed process had not stored by
then, the sender sends again, to any host.
"""

import hashlib
import shutil
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
        self._failure: BaseException | None = None

    def take(self, chunks: Sequence[bytes]) -> None:
        """Take the next bytes, all of them or, with an error, none. After an error it only repeats that.

        Objects end where a multiple of `PART` does.
        """
        self._refuse_after_failure()
        begin = self.at
        try:
            disk.require_room()
            for chunk in chunks:
                self._collect(memoryview(chunk))
        except BaseException as error:
            self._failure, self.at = error, begin
            raise

    def finish(self) -> None:
        """Store all that was taken; it is safe then."""
        self._refuse_after_failure()
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

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _collect(self, data: memoryview) -> None:
        while data:
            fits = data[: (self._begin // PART + 1) * PART - self.at]
            if self._spool is None:
                self._spool = _spool()
            self._spool.write(fits)
            self.at += len(fits)
            if self.sha256 is not None:
                self.sha256.update(fits)
            if self.at % PART == 0:
                self._store()
            data = data[len(fits) :]

    def _store(self) -> None:
        """Begin to store what is collected, once the part before it is safe."""
        self._settle()
        if self._spool is None:
            return
        spool, size = self._spool, self.at - self._begin
        joined = self.before(size)
        if joined:
            with spool as rest:
                spool = _spool()
                spool.write(joined)
                rest.seek(0)
                shutil.copyfileobj(rest, spool)
        upto = self.sha256.copy() if self.sha256 is not None else None
        made = Made(self._begin - len(joined), size + len(joined), uuid.uuid4(), upto)
        self._spool, self._begin = None, self.at
        self._storing = _threads().submit(_put, self.bucket, made, spool)

    def _settle(self) -> None:
        """Wait for the part that is being stored, and note it."""
        if self._storing is not None:
            made = self._storing.result()
            end = made.offset + made.size
            self.note(made, self.safe)
            self._storing, self.safe = None, end


def _spool() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=CHUNK, dir=settings.SPOOL_FOLDER)


def _put(bucket: Bucket, made: Made, spool: IO[bytes]) -> Made:
    with spool:
        spool.seek(0)
        bucket.put(object_name(made.name), spool)
    return made


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(STORING_AT_ONCE, thread_name_prefix="storing")
