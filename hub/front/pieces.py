"""A large upload to a route that takes pieces by `Upload-Offset`: what has come is handed over while the rest comes.

No thread waits for the network, and what arrived before a cut is kept: the route has it already, or gets it then. The
application is asked about the first piece, whether the sender may, and the last; in between it may name who takes the
bytes `onward`, and is asked again every few seconds only.
"""

import asyncio
import contextlib
import io
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from hub.front.bodies import BODIES, Body
from hub.front.caps import Budget
from hub.front.gateway import Answer
from hub.front.limits import KB, MB, Limits
from hub.front.refusals import Gone, Refused, no_room

FIRST, LEAST, READ = 256 * KB, 64 * KB, 64 * KB
GROWTH = 4
# A piece that is not full is handed over when it has waited this long for the rest.
SECONDS = 5.0
# What goes onward goes in pieces of this, and the application is asked again after so many bytes or seconds.
STEP, STRETCH, STRETCH_SECONDS = 4 * MB, 64 * MB, 5.0


class Onward(Protocol):
    """Who takes the next bytes of a body that the application has allowed, in a thread and without another look."""

    def take(self, offset: int, chunks: list[bytes]) -> bool:
        """Take the bytes from `offset` on; False where the application must be asked about them: none is taken then."""

    def close(self) -> None:
        """Nothing more comes this way. May be called twice."""


@dataclass(slots=True)
class Piece:
    """Bytes taken from the budget, and why no more will come where they ended early."""

    number: int = 0
    offset: int = 0
    chunks: list[bytes] = field(default_factory=list)
    size: int = 0
    failure: Exception | None = None

    def stream(self) -> BinaryIO:
        """The bytes, to be read once."""
        return io.BufferedReader(_Chunks(self.chunks), READ)


class Way:
    """Where the pieces of one body go. `hand_over` gives one to the application, `run` calls in a thread."""

    def __init__(
        self,
        hand_over: Callable[[Piece, bool, Onward | None], Awaitable[Answer]],
        run: Callable[..., Awaitable[object]],
    ) -> None:
        self.hand_over, self.run = hand_over, run
        self.onward: Onward | None = None
        self._asked_at, self._asked = 0, 0.0

    async def give(self, piece: Piece, more: bool) -> Answer | None:
        """What the application says of a piece, after which `more` follow or none; None where it was not asked."""
        may_go_on = self.onward and more and self._is_allowed(piece)
        if may_go_on and await self.run(self.onward.take, piece.offset, piece.chunks):
            return None
        self._asked_at, self._asked = piece.offset, time.monotonic()
        answer = await self.hand_over(piece, more, self.onward)
        if answer.onward is not self.onward:
            await self.close()
            self.onward = answer.onward
        return answer

    async def close(self) -> None:
        """No more pieces come."""
        if self.onward is not None:
            onward, self.onward = self.onward, None
            await self.run(onward.close)

    def _is_allowed(self, piece: Piece) -> bool:
        near = piece.offset + piece.size <= self._asked_at + STRETCH
        return near and time.monotonic() < self._asked + STRETCH_SECONDS


async def relay(body: Body, offset: int, way: Way, limits: Limits, memory: Budget) -> Answer:
    """The answer to the last piece, or to the first that was refused.

    Pieces that the application is asked about grow up to `limits.piece`, so that a refusal comes early and a long
    upload costs few calls; where memory is short they stay small, and those under way end early. The next one comes in
    meanwhile.
    """
    try:
        return await _relay(body, offset, way, limits, memory)
    finally:
        await way.close()


async def _relay(body: Body, offset: int, way: Way, limits: Limits, memory: Budget) -> Answer:
    wanted, coming = min(FIRST, limits.piece), None
    piece = await _piece(body, wanted, memory)
    piece.offset = offset
    while True:
        more = not body.ended and piece.failure is None
        wanted = LEAST if memory.is_short else STEP if way.onward or not piece.number else GROWTH * wanted
        wanted = min(wanted, limits.piece)
        if more and not memory.is_short:
            coming = asyncio.ensure_future(_piece(body, wanted, memory))
        try:
            answer = None
            if piece.size or piece.failure is None:
                answer = await way.give(piece, more)
        except BaseException:
            await _drop(coming, memory)
            raise
        finally:
            memory.give(piece.size)
        if piece.failure is not None:
            raise piece.failure
        if answer is not None and (not more or answer.status != 200):
            await _drop(coming, memory)
            return answer
        offset, number = piece.offset + piece.size, piece.number + 1
        piece, coming = await (coming or _piece(body, wanted, memory)), None
        piece.offset, piece.number = offset, number


async def _drop(coming: "asyncio.Task[Piece] | None", memory: Budget) -> None:
    """Forget a piece that comes and that nobody will have."""
    if coming is not None:
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            memory.give((await coming).size)


async def _piece(body: Body, wanted: int, memory: Budget) -> Piece:
    """The next bytes: as many as wanted, or what came in time."""
    piece, until = Piece(), time.monotonic() + SECONDS
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
