"""Bytes of one body become objects: collected in a temporary file, and stored in parts while the next ones come.

A part counts when its row is written, which is when it is told to the sender. What a killed process had not stored by
then, the sender sends again, to any host.
"""

import contextlib
import hashlib
import shutil
import tempfile
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

from django.conf import settings

from hub import disk
from hub.models import StagedPart
from hub.services.content.staging.object_store import INCOMING, Bucket
from hub.storage import CHUNK

PART = 16 << 20
AT_ONCE, OF_ALL = 3, 16  # parts on their way to the store, of one body and of all


@dataclass(frozen=True, slots=True)
class Made:
    """An object that was stored: the file's bytes from `offset` on. `upto` is the file's SHA-256 up to its end.

    Those of its bytes that stood in the store before are of the parts `joined`, which it takes the place of.
    """

    offset: int
    size: int
    name: uuid.UUID
    upto: "hashlib._Hash | None"
    joined: Sequence[StagedPart] = ()

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
        self._storing: deque[Future[Made]] = deque()
        self._failure: BaseException | None = None

    def take(self, chunks: Sequence[bytes]) -> None:
        """Take the next bytes, all of them or, with an error, none. After an error it only repeats that.

        Objects end where a multiple of `PART` does.
        """
        self._refuse_after_failure()
        begin = self.at
        try:
            disk.require_room()
            self._settle(until=lambda: not self._storing[0].done())
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
        while self._storing:
            if not (storing := self._storing.pop()).cancel():
                storing.add_done_callback(self._take_back)
        if self._spool is not None:
            self._spool.close()
            self._spool = None
        self._begin = self.at = self.safe
        self.sha256 = None

    def held(self) -> bytes:
        """What was taken and is not on its way to the store."""
        if self._spool is None:
            return b""
        self._spool.seek(0)
        data = self._spool.read()
        self._spool.seek(0, 2)
        return data

    def before(self, size: int) -> tuple[Sequence[StagedPart], bytes]:
        """The stored parts, and their bytes, that become one object with the `size` bytes after them; none here."""
        return (), b""

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
        """Begin to store what is collected; a few parts are on their way at once."""
        self._settle(until=lambda: len(self._storing) < AT_ONCE)
        if self._spool is None:
            return
        spool, size = self._spool, self.at - self._begin
        # A part on its way is a large one.
        joined, data = self.before(size) if not self._storing else ((), b"")
        if joined:
            with spool as rest:
                spool = _spool()
                spool.write(data)
                rest.seek(0)
                shutil.copyfileobj(rest, spool)
        upto = self.sha256.copy() if self.sha256 is not None else None
        made = Made(self._begin - len(data), size + len(data), uuid.uuid4(), upto, joined)
        self._spool, self._begin = None, self.at
        self._storing.append(_threads().submit(_put, self.bucket, made, spool))

    def _take_back(self, storing: Future[Made]) -> None:
        if storing.exception() is None:
            with contextlib.suppress(Exception):  # It is a stray then.
                self.bucket.delete([object_name(storing.result().name)])

    def _settle(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Note the parts that are stored, in order: all, or `until` that says so. Waits for those that are not yet."""
        while self._storing and not until():
            made = self._storing[0].result()
            self.note(made, self.safe)
            self.safe = made.offset + made.size
            self._storing.popleft()


def _spool() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=CHUNK, dir=settings.SPOOL_FOLDER)


def _put(bucket: Bucket, made: Made, spool: IO[bytes]) -> Made:
    with spool:
        spool.seek(0)
        bucket.put(object_name(made.name), spool)
    return made


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(OF_ALL, thread_name_prefix="storing")
