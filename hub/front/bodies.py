"""Receives a request's body in the event loop: not slower than the least rate, not larger than its kind may be.

What has come lies in memory up to a megabyte, then in a temporary file without a name, which vanishes with the process.
"""

import asyncio
import contextlib
import io
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import BinaryIO

from hub.front.caps import Budget
from hub.front.limits import Limits
from hub.front.pool import Pool
from hub.front.refusals import Gone, Refused, no_room

Receive = Callable[[], Awaitable[dict]]
# What goes to a temporary file is written in blocks of this: each is a turn of a thread.
WRITE = 256 << 10
LINGER_SECONDS, LINGER_BYTES = 2.0, 16 << 20
BODIES = "request bodies"


class Body:
    """A body as it comes. `declared` is its Content-Length, None where it is sent in chunks of unknown number."""

    def __init__(self, receive: Receive, declared: int | None, limits: Limits) -> None:
        self.receive, self.declared, self.limits = receive, declared, limits
        self.came = 0
        self.ended = declared == 0
        self.gone = False
        self._deadline = time.monotonic() + limits.grace
        self._next: asyncio.Task | None = None

    async def more(self, patience: float | None = None) -> bytes | None:
        """The next bytes, b"" at the end; None where nothing came within `patience` seconds.

        Refused (408) where the sender is too slow, Gone where they hung up.
        """
        if self.ended:
            return b""
        if self._next is None:
            self._next = asyncio.ensure_future(_message(self.receive))
            await asyncio.sleep(0)  # What has come already needs no waiting, which costs a timer and a callback.
        left = self._deadline - time.monotonic()
        if not self._next.done():
            await asyncio.wait({self._next}, timeout=max(0.0, left if patience is None else min(left, patience)))
        if not self._next.done():
            if time.monotonic() < self._deadline:
                return None
            self.abandon()
            raise self._too_slow()
        message, self._next = self._next.result(), None
        if message["type"] != "http.request":
            self.gone = True
            raise Gone
        data = message.get("body", b"")
        self.came += len(data)
        self.ended = not message.get("more_body") or self.came == self.declared
        now = time.monotonic()
        # Each byte buys time at the least rate, and nobody saves up more than the grace.
        self._deadline = min(now + self.limits.grace, self._deadline + len(data) / self.limits.rate)
        return data

    def abandon(self) -> None:
        """Stop waiting for more."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self.ended = True

    async def linger(self) -> None:
        """Read on for a moment after an early answer, so that a sender in full flow gets to read it."""
        until, most = time.monotonic() + LINGER_SECONDS, self.came + LINGER_BYTES
        with contextlib.suppress(Gone, Refused):
            while not self.ended and self.came < most and (left := until - time.monotonic()) > 0:
                await self.more(left)
        self.abandon()

    def too_long(self, seconds: float) -> Refused:
        """The whole body did not come in the seconds that a body like this may take."""
        return Refused(408, "body.slow", f"The request body did not come within {seconds:g} s.", retry_after=1)

    def _too_slow(self) -> Refused:
        return Refused(
            408,
            "body.slow",
            f"{self.came} bytes of the request body came, and then too little: send at least {self.limits.rate} bytes "
            f"a second, with no pause over {self.limits.grace:g} s.",
            retry_after=1,
        )


async def _message(receive: Receive) -> dict:
    return await receive()


class Spool:
    """Bytes of an address that are kept until they are whole."""

    def __init__(self, limits: Limits, memory: Budget, disk: Budget, pool: Pool, address: str) -> None:
        self.limits, self.memory, self.disk, self.pool, self.address = limits, memory, disk, pool, address
        self.size = 0
        self.file: BinaryIO = io.BytesIO()
        self._on_disk = False
        self._kept = 0
        self._unwritten = bytearray()

    async def add(self, data: bytes) -> None:
        """Keep these bytes too; Refused (503) where there is no room for them."""
        self.size += len(data)
        budget = self.disk if self._on_disk else self.memory
        if not self._on_disk and (self.size > self.limits.in_memory or not budget.take(len(data), self.address)):
            await self._move_to_disk()
            budget = self.disk
        if self._on_disk and not budget.take(len(data), self.address):
            self.size -= len(data)
            raise no_room(BODIES)
        self._kept += len(data)
        if not self._on_disk:
            self.file.write(data)
            return
        self._unwritten += data
        if len(self._unwritten) >= WRITE:
            await self._write()

    async def whole(self) -> BinaryIO:
        """All bytes, from the first."""
        if self._unwritten:
            await self._write()
        self.file.seek(0)
        return self.file

    def close(self) -> None:
        """Forget them."""
        (self.disk if self._on_disk else self.memory).give(self._kept, self.address)
        self._kept = 0
        self.file.close()

    async def _write(self) -> None:
        data, self._unwritten = self._unwritten, bytearray()
        await self.pool.run(self.file.write, data)

    async def _move_to_disk(self) -> None:
        if not self.disk.take(self._kept, self.address):
            raise no_room(BODIES)
        self.memory.give(self._kept, self.address)
        self._on_disk = True
        held = self.file
        self.file = await self.pool.run(_temporary, self.limits.spool_folder)
        await self.pool.run(self.file.write, held.getbuffer())


def _temporary(folder: str | None) -> BinaryIO:
    return tempfile.TemporaryFile(dir=folder)
