"""Sends an answer at the speed of its reader, in blocks that a thread reads only when the one before has been taken."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from hub.front.caps import Budget
from hub.front.gateway import Answer, gather
from hub.front.limits import Limits
from hub.front.pool import Pool
from hub.front.refusals import Gone, Headers, no_room

Send = Callable[[dict], Awaitable[None]]
Receive = Callable[[], Awaitable[dict]]
# A reader that takes a block within this time gets the next one twice as large, up to the most, once more has gone than
# the system's buffers take from anybody. A slow one holds small blocks: the server keeps several on their way.
QUICK, BUFFERED = 0.05, 8 << 20
MOST = 1 << 19
MEMORY_PATIENCE = 0.05


class Sender:
    """One answer on its way. Raises Gone where the reader hung up or is slower than the least rate."""

    def __init__(self, send: Send, gone: "Departure", limits: Limits) -> None:
        self._send, self.gone, self.limits = send, gone, limits
        self.started = False

    async def start(self, status: int, headers: Headers) -> None:
        """Status and headers; they leave with the first bytes."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, more: bool) -> None:
        """Bytes of the body, once the ones before have been taken."""
        message = {"type": "http.response.body", "body": data, "more_body": more}
        if not more:
            await self._send(message)
            return
        self.gone.check()
        try:
            async with asyncio.timeout(self.limits.grace + len(data) / self.limits.rate):
                await self._send(message)
        except TimeoutError:
            raise Gone from None

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """An answer in one go."""
        await self.start(status, headers)
        await self.write(body, more=False)


class Departure:
    """Notices that the client hung up, by reading the connection once the request has been read."""

    def __init__(self, receive: Receive) -> None:
        self._watch = asyncio.ensure_future(self._left(receive))

    def check(self) -> None:
        """Raise Gone where the client has gone."""
        if self._watch.done():
            raise Gone

    def close(self) -> None:
        """Stop looking."""
        self._watch.cancel()

    @staticmethod
    async def _left(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


async def send_blocks(answer: Answer, sender: Sender, pool: Pool, memory: Budget, address: str) -> None:
    """Send a streamed answer to an address; its blocks are read by the pool.

    The memory of a small block is held from the first byte to the last, so that an answer that has begun goes on. What
    a larger block takes beyond it comes from memory that nobody else needs. Refused (503) where no memory comes free.
    """
    small = sender.limits.block
    await _wait_for_memory(small, sender, memory, address)
    held, sent = small, 0
    try:
        data = await pool.run(gather, answer.blocks, held)
        await sender.start(answer.status, answer.headers)
        while data:
            began = time.monotonic()
            await sender.write(data, more=True)
            sent += len(data)
            quick = sent > BUFFERED and time.monotonic() - began < QUICK
            more = min(MOST, 2 * held) - held
            if not quick:
                memory.give(held - small, address)
                held = small
            elif more and memory.take(more, address, spare=True):
                held += more
            data = await pool.run(gather, answer.blocks, held)
        await sender.write(b"", more=False)
    finally:
        memory.give(held, address)


async def _wait_for_memory(count: int, sender: Sender, memory: Budget, address: str) -> None:
    until = time.monotonic() + sender.limits.wait_seconds
    while not memory.take(count, address):
        if time.monotonic() >= until:
            raise no_room("downloads")
        await asyncio.sleep(MEMORY_PATIENCE)
        sender.gone.check()
