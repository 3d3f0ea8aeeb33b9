"""A TCP relay that can be hurt: it stands before web hosts (as their balancer), the database and the object store.

Each connection goes to the next target that takes one, so that a client whose requests come on connections of their own
is served by every host in turn.
"""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Sequence

PIECE = 1 << 18
CONNECT_SECONDS = 2.0

Target = tuple[str, int]


class Relay:
    """Listens on a free port of this machine. `targets` are (host, port)."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = list(targets)
        self.port = 0
        self._turn = itertools.count()
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._flows = asyncio.Event()
        self._flows.set()
        threading.Thread(target=self._loop.run_forever, name="relay", daemon=True).start()
        self._call(self._listen())

    @property
    def url(self) -> str:
        """Where it serves, for HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Close every connection; new ones are taken."""
        self._call(self._cut())

    def go_away(self) -> None:
        """Close everything and refuse new connections, until `come_back`."""
        self._call(self._close())

    def come_back(self) -> None:
        """Take connections again, on the same port."""
        self._call(self._listen())

    def stall(self) -> None:
        """Keep connections and pass nothing on, until `flow`."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def flow(self) -> None:
        """Pass bytes on again."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def close(self) -> None:
        """For good."""
        self._call(self._close())
        self._call(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _call(self, what) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=PIECE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end_tasks(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            inner, outer = await self._reach()
            self._open.add(outer)
            try:
                await self._both(self._pass(reader, outer), self._pass(inner, writer))
            finally:
                self._open.discard(outer)
                outer.transport.abort() if outer.transport.is_closing() else outer.close()
        except OSError:
            writer.transport.abort()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _both(self, *ways) -> None:
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        first = next(self._turn)
        for step in range(len(self.targets)):
            host, port = self.targets[(first + step) % len(self.targets)]
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                return await asyncio.wait_for(asyncio.open_connection(host, port, limit=PIECE), CONNECT_SECONDS)
        raise ConnectionRefusedError("no target takes a connection")

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Bytes from one side to the other until it ends; a broken side breaks both."""
        while data := await reader.read(PIECE):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()


def until(true: Callable[[], bool], seconds: float, pause: float = 0.2) -> bool:
    """Wait until something is true; False where the time ran out."""
    import time

    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True
