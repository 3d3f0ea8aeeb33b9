"""Who takes what follows in a body that was allowed, where the bytes become objects."""

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence

from django.db import close_old_connections, connection

from hub.services.content.staging.writing import PartWriter

log = logging.getLogger(__name__)


class Following:
    """Takes the next bytes without another look. What it took is safe when the writer has finished, or at its close."""

    def __init__(self, writer: PartWriter) -> None:
        self.writer, self._lock = writer, threading.Lock()

    def may_take(self, offset: int, size: int) -> bool:
        """True where `size` bytes from `offset` of the body on are what the writer may get now."""
        raise NotImplementedError

    def take(self, offset: int, chunks: Sequence[bytes]) -> bool:
        """Take bytes; False where the application has to say what is wrong with them: none is taken then."""
        with self._lock, as_a_request():
            if not self.may_take(offset, sum(map(len, chunks))):
                return False
            try:
                self.writer.take(chunks)
            except Exception as error:
                log.info("a piece goes back to the application: %r", error)
                return False
        return True

    def close(self) -> None:
        """No more comes: what has come is kept."""
        with self._lock, as_a_request():
            try:
                self.writer.finish()
            except Exception as error:
                log.info("the end of a cut upload was not kept: %r", error)
                self.writer.drop()


@contextlib.contextmanager
def as_a_request() -> Iterator[None]:
    """Drop old connections, as the begin and the end of a request do: a thread of the front has neither."""
    outside = not connection.in_atomic_block
    if outside:
        close_old_connections()
    try:
        yield
    finally:
        if outside:
            close_old_connections()
