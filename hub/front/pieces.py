"""A large upload to a route that takes pieces by `Upload-Offset`: what has come is handed over while the rest comes.

No thread waits for the network, and what arrived before a cut is kept: the route has it already, or gets it then.
"""

import asyncio
import contextlib
import io
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from hub.front.bodies import BODIES, Body
from hub.front.caps import Budget
from hub.front.gateway import Answer
from hub.front.limits import KB, Limits
from hub.front.refusals import Gone, Refused, no_room

FIRST, LEAST, READ = 256 * KB, 64 * KB, 64 * KB
GROWTH = 4
# A piece that is not full is handed over when it has waited this long for the rest.
SECONDS = 5.0


async def relay(
    body: Body,
    offset: int,
    hand_over: Callable[[int, BinaryIO, int, int, bool], Awaitable[Answer]],
    limits: Limits,
    memory: Budget,
) -> Answer:
    """The answer to the last piece, or to the first that was refused.

    `hand_over(offset, stream, length, number, more)` gives one piece to the application, and says whether another
    follows. Pieces grow up to `limits.piece`, so that a refusal comes early and a long upload costs few calls; where
    memory is short they stay small, and those under way end early. The next one comes in meanwhile.
    """
    wanted, number, coming = min(FIRST, limits.piece), 0, None
    piece = await _piece(body, wanted, memory)
    while True:
        more = not body.ended and piece.failure is None
        wanted = min(LEAST if memory.is_short else GROWTH * wanted, limits.piece)
        if more and not memory.is_short:
            coming = asyncio.ensure_future(_piece(body, wanted, memory))
        try:
            answer = None
            if piece.size or piece.failure is None:
                stream = io.BufferedReader(_Chunks(piece.chunks), READ)
                answer = await hand_over(offset, stream, piece.size, number, more)
        except BaseException:
            await _drop(coming, memory)
            raise
        finally:
            memory.give(piece.size)
        if piece.failure is not None:
            raise piece.failure
        if not more or answer.status != 200:
            await _drop(coming, memory)
            return answer
        offset, number = offset + piece.size, number + 1
        piece, coming = await (coming or _piece(body, wanted, memory)), None


async def _drop(coming: "asyncio.Task[_Piece] | None", memory: Budget) -> None:
    """Forget a piece that comes and that nobody will have."""
    if coming is not None:
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            memory.give((await coming).size)


@dataclass(slots=True)
class _Piece:
    """Bytes taken from the budget, and why no more will come where they ended early."""

    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    failure: Exception | None = None


async def _piece(body: Body, wanted: int, memory: Budget) -> _Piece:
    """The next bytes: as many as wanted, or what came in time."""
    piece, until = _Piece(), time.monotonic() + SECONDS
    try:
        while piece.size < wanted and not body.ended:
            patience = max(0.01, until - time.monotonic()) if piece.chunks else None
            come = await body.some(patience, wanted=min(wanted - piece.size, LEAST if memory.is_short else wanted))
            if come is None:
                break
            length = sum(map(len, come))
            if not memory.take(length):
                raise no_room(BODIES)
            piece.chunks += come
            piece.size += length
            if memory.is_short and piece.size >= LEAST:
                break
    except (Gone, Refused) as error:
        piece.failure = error
    except BaseException:
        memory.give(piece.size)
        raise
    return piece


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
