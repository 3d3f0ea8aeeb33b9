"""Clients that hold a server's connections and send or take next to nothing; each begins anew when it is cut off.

siege = Siege(host, port, headers)
async with siege.held({half_body("/api/v1/jobs/check"): 100, watcher("/api/v1/jobs/1/events"): 100}): …
"""

import asyncio
import contextlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

Begun = Callable[[], None]
Act = Callable[[int, asyncio.StreamReader, asyncio.StreamWriter, Begun], Awaitable[None]]


@dataclass(frozen=True)
class Besieger:
    """`request(number)` is what is sent first, `act` what is done then; it says when it has begun. `name` is for the
    table."""

    name: str
    request: Callable[[int], bytes]
    act: Act


def request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"", length: int = 0) -> bytes:
    """A request's head, and of its body as much as is given."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    if length or body:
        lines.append(f"Content-Length: {length or len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _answered(reader: asyncio.StreamReader) -> None:
    """Wait until the server says something, or hangs up."""
    await reader.read(1)


def half_body(
    name: str, method: str, path: Callable[[int], str], headers: Mapping[str, str], drip: int = 0
) -> Besieger:
    """Sends half of a small body, or of one of 100 MB `drip` bytes a second."""
    length = 100_000_000 if drip else 2000
    body = b'{"kind": "' + b"x" * 990

    async def act(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: Begun) -> None:
        begun()
        waiting = asyncio.ensure_future(_answered(reader))
        try:
            while drip and not waiting.done():
                await asyncio.wait({waiting}, timeout=1)
                writer.write(b"x" * drip)
                await writer.drain()
            await waiting
        finally:
            waiting.cancel()

    return Besieger(name, lambda number: request(method, path(number), headers, body, length), act)


def watcher(name: str, path: str, headers: Mapping[str, str], seen: Callable[[bytes], None]) -> Besieger:
    """Follows a job's events, each time from the last one on; `seen` is told each line."""
    last: dict[int, str] = {}

    def ask(number: int) -> bytes:
        resumed = {"Last-Event-ID": last[number]} if number in last else {}
        return request("GET", path, {**headers, **resumed, "Connection": "close"})

    async def act(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: Begun) -> None:
        while line := await reader.readline():
            if line.startswith(b"id: "):
                last[number] = line[4:].strip().decode()
            elif line.startswith(b"retry: "):
                begun()
            seen(line)

    return Besieger(name, ask, act)


def slow_reader(name: str, path: str, headers: Mapping[str, str]) -> Besieger:
    """Asks for a large file and reads a kilobyte a second."""

    async def act(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: Begun) -> None:
        while await reader.read(1024):
            begun()
            await asyncio.sleep(1)

    return Besieger(name, lambda number: request("GET", path, headers), act)


def slow_headers(name: str) -> Besieger:
    """Sends a header every two seconds, and never the last one."""

    async def act(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, begun: Begun) -> None:
        begun()
        waiting = asyncio.ensure_future(_answered(reader))
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=2)
                writer.write(b"X-Slow: yes\r\n")
                await writer.drain()
        finally:
            waiting.cancel()

    return Besieger(name, lambda number: b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", act)


@dataclass
class Siege:
    """Connections held by many besiegers at once. `open` counts them by name, `begun` holds who has begun."""

    host: str
    port: int
    open: Counter = field(default_factory=Counter)
    begun: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    @contextlib.asynccontextmanager
    async def held(self, besiegers: Sequence[tuple[Besieger, int]], patience: float = 20) -> AsyncIterator[None]:
        """While this is entered, so many of each are at it; it begins when all have begun once.

        A frozen server lets nobody begin, so after `patience` seconds it is taken as it is.
        """
        tasks = [
            asyncio.ensure_future(self._again_and_again(besieger, number))
            for besieger, count in besiegers
            for number in range(count)
        ]
        try:
            wanted = {besieger.name: count for besieger, count in besiegers}
            until = time.monotonic() + patience
            while time.monotonic() < until and any(len(self.begun[name]) < count for name, count in wanted.items()):
                await asyncio.sleep(0.05)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _has_begun(self, name: str, number: int) -> None:
        self.begun[name].add(number)

    async def _again_and_again(self, besieger: Besieger, number: int) -> None:
        while True:
            with contextlib.suppress(OSError, ValueError):
                reader, writer = await asyncio.open_connection(self.host, self.port, limit=1 << 12)
                self.open[besieger.name] += 1
                try:
                    writer.write(besieger.request(number))
                    await writer.drain()
                    await besieger.act(number, reader, writer, partial(self._has_begun, besieger.name, number))
                finally:
                    self.open[besieger.name] -= 1
                    writer.transport.abort()
            await asyncio.sleep(0.1 + 0.2 * random.random())
