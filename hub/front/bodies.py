"""Receives a request's body in the event loop: not slower than the least rate, not larger than its kind may be.

What has come lies in memory up to a megabyte, then in a temporary file without a name, which vanishes with the process.
"""

import asyncio
import contextlib
import io
import math
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
WRITE = 512 << 10
# What is taken at a time, at most: a sender in full flow gives so much within the seconds.
AHEAD, FLOW_SECONDS = 512 << 10, 0.05
LINGER_SECONDS, LINGER_BYTES = 2.0, 16 << 20
BODIES = "request bodies"


class Body:
    """A body as it comes. `declared` is its Content-Length, None where it is sent in chunks of unknown number.

    One task receives for the whole body, so that a message costs no task, timer and turn of its own. It is ahead of the
    reader by what they last wanted.
    """

    def __init__(self, receive: Receive, declared: int | None, limits: Limits) -> None:
        self.receive, self.declared, self.limits = receive, declared, limits
        self.came = 0
        self.ended = declared == 0
        self.gone = False
        self._deadline = time.monotonic() + limits.grace
        self._arrived: list[bytes] = []
        self._held, self._wanted = 0, 1
        self._whole = False
        self._receiving: asyncio.Task | None = None
        self._reader: asyncio.Future | None = None
        self._taken: asyncio.Future | None = None

    async def some(self, patience: float | None = None, *, wanted: int = 1) -> list[bytes] | None:
        """The next bytes, [] at the end: what has come, or for a moment more up to `wanted`, at most `AHEAD`.

        None where nothing came within `patience` seconds. Refused (408) where the sender is too slow, Gone where they
        hung up.
        """
        if self.ended:
            return []
        if self._receiving is None:
            self._receiving = asyncio.ensure_future(self._receive())
        until = math.inf if patience is None else time.monotonic() + patience
        await self._wait(min(wanted, AHEAD), min(FLOW_SECONDS, until - time.monotonic()))
        while not self._arrived and not self._stopped():
            now = time.monotonic()
            if now >= self._deadline:
                self.abandon()
                raise self._too_slow()
            if now >= until:
                return None
            await self._wait(1, min(until, self._deadline) - now)
        return self._take()

    def abandon(self) -> None:
        """Stop waiting for more."""
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None  # With it goes the server's hold on the connection.
        self.ended = True

    async def linger(self) -> None:
        """Read on for a moment after an early answer, so that a sender in full flow gets to read it."""
        until, most = time.monotonic() + LINGER_SECONDS, self.came + LINGER_BYTES
        with contextlib.suppress(Gone, Refused):
            while not self.ended and self.came < most and (left := until - time.monotonic()) > 0:
                await self.some(left)
        self.abandon()

    def too_long(self, seconds: float) -> Refused:
        """The whole body did not come in the seconds that a body like this may take."""
        return Refused(408, "body.slow", f"The request body did not come within {seconds:g} s.", retry_after=1)

    async def _receive(self) -> None:
        try:
            while not self._whole and not self.gone:
                self._note(await self.receive())
                if self._held >= self._wanted and not self._whole:
                    since, self._taken = time.monotonic(), asyncio.get_running_loop().create_future()
                    await self._taken
                    self._deadline += time.monotonic() - since  # Nobody was listening: not the sender's doing.
        finally:
            _wake(self._reader)

    def _note(self, message: dict) -> None:
        if message["type"] != "http.request":
            self.gone = True
            return
        data = message.get("body", b"")
        self.came += len(data)
        self._held += len(data)
        self._arrived.append(data)
        self._whole = not message.get("more_body") or self.came == self.declared
        # Each byte buys time at the least rate, and nobody saves up more than the grace.
        until = self._deadline + len(data) / self.limits.rate
        self._deadline = min(time.monotonic() + self.limits.grace, until)
        if self._held >= self._wanted:
            _wake(self._reader)

    async def _wait(self, wanted: int, seconds: float) -> None:
        """Wait until so many bytes are here or no more will come, at most so long."""
        self._wanted = wanted
        if self._held >= wanted or self._stopped() or seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        self._reader = loop.create_future()
        timer = loop.call_later(seconds, _wake, self._reader)
        try:
            await self._reader
        finally:
            timer.cancel()
            self._reader = None

    def _stopped(self) -> bool:
        return self._whole or self.gone or self._receiving.done()

    def _take(self) -> list[bytes]:
        if not self._arrived:
            if self.gone:
                raise Gone
            self._receiving.result()
        found, self._arrived, self._held = self._arrived, [], 0
        self.ended = self._whole
        _wake(self._taken)
        return found

    def _too_slow(self) -> Refused:
        return Refused(
            408,
            "body.slow",
            f"{self.came} bytes of the request body came, and then too little: send at least {self.limits.rate} bytes "
            f"a second, with no pause over {self.limits.grace:g} s.",
            retry_after=1,
        )


def _wake(waiting: asyncio.Future | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)


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
