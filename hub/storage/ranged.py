"""An object of S3 as a seekable stream, of which only what is read comes over the network.

Opening asks for the first bytes, which tell the size and hold the headers that most readers want; they are kept. Past
them the object is read in windows: each is one ranged request whose body is passed on as it comes, so that a stream
holds no more memory than its reader asks for. A window grows while it is read on, up to `LARGEST`, and begins small
after a jump. A body that breaks off is asked for again from where it broke.
"""

import io
import time
from collections.abc import Callable

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError
from botocore.exceptions import ConnectionError as NoConnection

from hub.storage.timeouts import told_apart

HEAD = 64 << 10
SMALLEST, LARGEST = 256 << 10, 16 << 20
# A jump ahead of at most this is read over, and a rest of at most this read out, to keep the connection.
NEAR = 64 << 10
TRIES, PAUSE_SECONDS = 3, 0.2


class RangedStream(io.RawIOBase):
    """`fetch(start, stop)` gives the answer to a request for these bytes: {"Body", "ContentRange"}.

    Raises FileNotFoundError at once where there is no object, and the store's own errors when it can't be reached.
    """

    def __init__(self, name: str, fetch: Callable[[int, int], dict]) -> None:
        self.name, self._fetch = name, fetch
        self._position = 0
        with told_apart():
            self.size, self._head = self._first()
        self._body, self._window = None, SMALLEST // 2
        self._at = self._end = len(self._head)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"negative seek position {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self.read(-1)

    def read(self, size: int | None = -1) -> bytes:
        """The next `size` bytes, fewer only at the object's end; all that is left for a negative size."""
        self._checkClosed()
        left = max(0, self.size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        found, pieces = 0, []
        with told_apart():
            while found < wanted:
                piece = self._some(wanted - found)
                pieces.append(piece)
                found += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        if not self.closed:
            self._let_go()
        super().close()

    def _some(self, wanted: int) -> bytes:
        """One to `wanted` bytes from the position on."""
        if self._position < len(self._head):
            piece = self._head[self._position : self._position + wanted]
        else:
            piece = self._from_body(wanted)
        self._position += len(piece)
        return piece

    def _from_body(self, wanted: int) -> bytes:
        for tries in range(1, TRIES + 1):
            try:
                self._go_to(self._position, wanted)
                piece = self._body.read(min(wanted, self._end - self._at))
                if not piece:
                    raise IncompleteReadError(actual_bytes=self._at, expected_bytes=self._end)
                self._at += len(piece)
                return piece
            except (HTTPClientError, NoConnection, IncompleteReadError):
                self._drop()
                if tries == TRIES:
                    raise
                time.sleep(PAUSE_SECONDS * tries)
        raise AssertionError("unreachable")

    def _go_to(self, position: int, wanted: int) -> None:
        """Have a body that goes on at `position`."""
        if self._body is not None and self._at < self._end:
            if self._at == position:
                return
            if 0 < position - self._at <= NEAR and position < self._end:
                self._skip(position - self._at)
                return
        follows = position == self._at
        self._let_go()
        self._window = min(LARGEST, 2 * self._window) if follows else SMALLEST
        stop = min(self.size, position + max(self._window, min(wanted, LARGEST)))
        self._body = self._fetch(position, stop)["Body"]
        self._at, self._end = position, stop

    def _skip(self, count: int) -> None:
        while count:
            piece = self._body.read(count)
            if not piece:
                raise IncompleteReadError(actual_bytes=self._at, expected_bytes=self._end)
            count -= len(piece)
            self._at += len(piece)

    def _first(self) -> tuple[int, bytes]:
        """(size of the object, its first bytes)."""
        for tries in range(1, TRIES + 1):
            try:
                answer = self._fetch(0, HEAD)
                # A store may answer for an object without bytes as if no range had been asked for.
                size = answer.get("ContentRange", "").rpartition("/")[2] or answer["ContentLength"]
                return int(size), answer["Body"].read()
            except ClientError as error:
                code = error.response.get("Error", {}).get("Code", "")
                if code == "InvalidRange":
                    return 0, b""  # An object without bytes has no range.
                if code in ("NoSuchKey", "404"):
                    raise FileNotFoundError(f"there is no object {self.name}") from None
                raise
            except (HTTPClientError, IncompleteReadError):
                if tries == TRIES:
                    raise
                time.sleep(PAUSE_SECONDS * tries)
        raise AssertionError("unreachable")

    def _let_go(self) -> None:
        """Be done with the body; its connection serves again where little of it is left."""
        if self._body is not None:
            try:
                if self._end - self._at <= NEAR:
                    self._body.read()
            except (HTTPClientError, IncompleteReadError):
                pass
            self._drop()

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
