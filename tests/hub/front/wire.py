"""Requests byte by byte, for what a proper client would not do; and servers of our own to send them to."""

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hub.runtime.valkey import free_port

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60.0


@dataclass
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


class Connection:
    """One connection. `send` sends bytes as they are, `answer` reads one whole answer."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.came = b""

    def send(self, data: bytes) -> "Connection":
        self.socket.sendall(data)
        return self

    def ask(
        self, method: str, path: str, body: bytes = b"", *, length: int | None = None, **headers: str
    ) -> "Connection":
        """A request whose Content-Length is `length`, that of the body where it isn't given; `_` in names for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body or length is not None:
            named["Content-Length"] = str(len(body) if length is None else length)
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in named.items())]
        return self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def answer(self, *, head: bool = False) -> Answer:
        while b"\r\n\r\n" not in self.came:
            self._more()
        top, _, rest = self.came.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name = name.lower()
            headers[name] = f"{headers[name]}\n{value.strip()}" if name in headers else value.strip()
        self.came = rest
        if head or first.split()[1] in ("204", "304"):
            body = b""
        elif "content-length" in headers:
            body = self.read(int(headers["content-length"]))
        else:
            body = b"".join(self._chunks())
        return Answer(int(first.split()[1]), headers, body)

    def read(self, count: int) -> bytes:
        parts, size = [self.came], len(self.came)
        while size < count:
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError(f"{size} of {count} bytes")
            parts.append(data)
            size += len(data)
        whole = b"".join(parts)
        self.came = whole[count:]
        return whole[:count]

    def closed(self) -> bool:
        """True once the server has hung up; what it said before is dropped."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(1 << 16):
                pass
        return True

    def close(self) -> None:
        self.socket.close()

    def _chunks(self) -> Iterator[bytes]:
        while True:
            while b"\r\n" not in self.came:
                self._more()
            size, _, self.came = self.came.partition(b"\r\n")
            data = self.read(int(size, 16) + 2)[:-2]
            if not data:
                return
            yield data

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise EOFError("the server hung up")
        self.came += data


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
    """One request on a connection of its own."""
    with contextlib.closing(Connection(port)) as connection:
        return connection.ask(method, path, body, **headers).answer(head=method == "HEAD")


def until(true: Callable[[], object]) -> object:
    """Wait until it is."""
    end = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def served(command: Callable[[int], list[str]], environment: Mapping[str, str], log: Path) -> Iterator[int]:
    """The port of a server that runs meanwhile."""
    port = free_port("127.0.0.1")
    with log.open("wb") as out:
        process = subprocess.Popen(command(port), env=dict(environment), cwd=ROOT, stdout=out, stderr=out)
    try:
        until(lambda: process.poll() is not None or answers(port))
        assert process.poll() is None, log.read_text()
        yield port
    finally:
        process.terminate()
        process.wait(30)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError, EOFError):
        return ask(port, "GET", "/healthz").status > 0
    return False


def granian(target: str, interface: str, *options: str) -> Callable[[int], list[str]]:
    """The command that serves `target` on a port."""
    start = [sys.executable, "-m", "granian", "--interface", interface, "--host", "127.0.0.1", "--no-ws", *options]
    return lambda port: [*start, "--port", str(port), target]
