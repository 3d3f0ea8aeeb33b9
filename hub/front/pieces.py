"""A large upload to a route that takes pieces by `Upload-Offset`: what has come is handed over while the rest comes.

No thread waits for the network, and what arrived before a cut is kept: the route has it already, or gets it then.
"""

import io
import time
from collections.abc import Awaitable, Callable
from typing import BinaryIO

from hub.front.bodies import BODIES, Body
from hub.front.caps import Budget
from hub.front.gateway import Answer
from hub.front.limits import KB, Limits
from hub.front.refusals import Gone, Refused, no_room

FIRST, LEAST, READ = 256 * KB, 64 * KB, 64 * KB
# A piece that is not full is handed over when it has waited this long for the rest.
SECONDS = 5.0


async def relay(
    body: Body,
    offset: int,
    hand_over: Callable[[int, BinaryIO, int, int], Awaitable[Answer]],
    limits: Limits,
    memory: Budget,
) -> Answer:
    """The answer to the last piece, or to the first that was refused.

    `hand_over(offset, stream, length, number)` gives one piece to the application. Pieces double up to `limits.piece`,
    so that a refusal comes early and a long upload costs few calls; where memory is short they stay small, and
    those under way end early.
    """
    wanted, number = min(FIRST, limits.piece), 0
    while True:
        piece, size, failure = await _piece(body, wanted, memory)
        try:
            answer = None
            if size or failure is None:
                answer = await hand_over(offset, io.BufferedReader(_Chunks(piece), READ), size, number)
        finally:
            memory.give(size)
        if failure is not None:
            raise failure
        if body.ended or answer.status != 200:
            return answer
        offset, number = offset + size, number + 1
        wanted = min(LEAST if memory.is_short else 2 * wanted, limits.piece)


async def _piece(body: Body, wanted: int, memory: Budget) -> tuple[list[bytes], int, Exception | None]:
    """The next bytes and how many, taken from the budget: as many as wanted, or what came in time; and why no more
    will come."""
    found: list[bytes] = []
    size, until = 0, time.monotonic() + SECONDS
    failure: Exception | None = None
    while size < wanted and not body.ended:
        try:
            come = await body.some(max(0.01, until - time.monotonic()) if found else None, wanted=wanted - size)
        except (Gone, Refused) as error:
            failure = error
            break
        if come is None:
            break
        length = sum(map(len, come))
        if not memory.take(length):
            failure = no_room(BODIES)
            break
        found += come
        size += length
        if memory.is_short and size >= LEAST:
            break
    return found, size, failure


class _Chunks(io.RawIOBase):
    """Bytes as they came, read one after the other: a piece is never joined, which would take its memory twice."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._left, self._at = iter(chunks), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: memoryview) -> int:
        """Copy the next bytes into `target`; 0 at the end."""
        while not self._at:
            chunk = next(self._left, None)
            if chunk is None:
                return 0
            self._at = memoryview(chunk)
        count = min(len(target), len(self._at))
        target[:count] = self._at[:count]
        self._at = self._at[count:]
        return count
