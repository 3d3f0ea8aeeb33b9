"""The ASGI application: takes a request in, has it answered by the WSGI application, sends the answer."""

import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol

from hub.front.answers import Receive, Send, Sender
from hub.front.caps import Budget, Caps
from hub.front.gateway import Answer
from hub.front.limits import Limits
from hub.front.pool import Pool
from hub.front.refusals import Gone, Refused
from hub.front.request import HEALTH, Request
from hub.front.sockets import drop_stalled_readers

log = logging.getLogger(__name__)

HEALTH_THREADS, BLOCK_THREADS = 2, 8
# An address may hold this part of the memory and of the disk for bodies, though always room for one file.
SHARES = 8
# Few, so that a crowd of watchers who come at once waits for itself and not before the pages.
WATCHING_THREADS = 3
# How long a thread that computes keeps the event loop waiting for the interpreter; Python's default is 5 ms.
SWITCH_SECONDS = 0.001
SECONDS_TO_RETRY = 2


class Live(Protocol):
    """Event streams: follows what a WSGI answer marked as `live` names."""

    async def stream(self, live: object, sender: Sender, viewer: bytes, again: Callable[[], Awaitable[Answer]]) -> None:
        """Send its events until it ends; `again` asks the application the same once more, for this `viewer`."""

    async def close(self) -> None:
        """End all streams."""


class Front:
    """`route_of(method, path)` says what the front must know of a route, see `hub.front.routes`; "" of most.

    `passing(error)` says in words what is wrong where an error passes by itself.
    """

    def __init__(
        self,
        application: Callable,
        limits: Limits,
        *,
        route_of: Callable[[str, str], str] = lambda method, path: "",
        live: Live | None = None,
        passing: Callable[[BaseException], str] = lambda error: "",
    ) -> None:
        self.application, self.limits, self.route_of, self.live = application, limits, route_of, live
        self.passing = passing
        self.listening = False
        self.caps = Caps(limits)
        half = limits.memory // 2
        self.memory, self.answers = Budget(half, half // SHARES), Budget(half, half // SHARES)
        self.disk = Budget(limits.spool, max(limits.spool // SHARES, limits.file))
        self.pool = Pool("request", limits.threads, limits.waiting, limits.wait_seconds)
        self.health = {
            path: Pool(path.strip("/"), HEALTH_THREADS, limits.waiting, limits.wait_seconds) for path in HEALTH
        }
        self.watching = Pool("watching", WATCHING_THREADS, limits.connections, 3 * limits.wait_seconds)
        self.blocks = Pool("block", BLOCK_THREADS, limits.connections, 10 * limits.wait_seconds)

    async def __call__(self, scope: dict, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live_through(receive, send)
        elif scope["type"] == "http":
            if not self.listening:  # Now the server does, which it need not at its start-up.
                self.listening = True
                drop_stalled_readers(3 * self.limits.grace)
            await self._serve(scope, receive, send)

    async def _live_through(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                sys.setswitchinterval(SWITCH_SECONDS)
                await send({"type": "lifespan.startup.complete"})
            else:
                if self.live:
                    await self.live.close()
                for pool in (self.pool, *self.health.values(), self.watching, self.blocks):
                    pool.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve(self, scope: dict, receive: Receive, send: Send) -> None:
        request = Request(self, scope, receive)
        try:
            with contextlib.nullcontext() if request.is_check else self.caps.request():
                await request.serve(send)
        except Refused as refused:
            await request.refuse(refused, send)
        except Gone:
            pass
        except Exception as error:
            await request.refuse(self._broken(error, scope), send)

    def _broken(self, error: Exception, scope: dict) -> Refused:
        """What is said where the application broke outside its own answers, as in the middle of a file."""
        if fault := self.passing(error):
            log.warning("%s %s: %s: %s", scope["method"], scope["path"], fault, error)
            return Refused(503, "away", f"{fault}. Try again in a moment.", retry_after=SECONDS_TO_RETRY)
        log.error("The front failed at %s %s", scope["method"], scope["path"], exc_info=error)
        return Refused(500, "internal", "Something broke on our side; try again.")
