"""Calls a WSGI application (PEP 3333) with a request that has arrived, and says what it answered."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote_to_bytes

from hub.front.refusals import Headers

if TYPE_CHECKING:
    from hub.front.pieces import Onward

# A streamed answer of at most this is joined at once, as waiting for its reader costs more.
JOINED = 256 << 10
ONCE = {b"content-length", b"content-type", b"transfer-encoding"}


@dataclass(slots=True)
class Answer:
    """What the application answered: `body` where it is whole, else `blocks`, to be closed by `close`.

    `live` marks a stream of events, `onward` says who takes the next pieces of a body, see `hub.front.pieces`.
    """

    status: int
    headers: Headers
    body: bytes | None = None
    blocks: Iterator[bytes] | None = None
    close: Callable[[], None] = field(default=lambda: None)
    live: object | None = None
    onward: "Onward | None" = None


def environ_of(scope: dict, *, block: int) -> dict:
    """The request of an ASGI scope as WSGI's environ, without a body."""
    host, port = scope.get("server") or ("localhost", "80")
    peer = scope.get("client") or ("", "")
    path = unquote_to_bytes(scope.get("raw_path") or scope["path"].encode())
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path.decode("latin-1"),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": str(port or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": peer[0],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
        "hub.block": block,
        "hub.raw_path": (scope.get("raw_path") or b"").decode("latin-1"),
    }
    for name, value in scope["headers"]:
        if b"_" in name:
            continue  # `X_Forwarded_For` would pass for the header with hyphens.
        _add(environ, name, value.decode("latin-1"))
    return environ


def _add(environ: dict, name: bytes, value: str) -> None:
    key = name.decode("latin-1").upper().replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if key in environ:
        value = f"{environ[key]}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
    environ[key] = value


def with_body(environ: dict, body: BinaryIO, length: int | None) -> dict:
    """The environ with this body, of which the application reads at most `length` bytes. None where there is none."""
    environ = {**environ, "wsgi.input": body}
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    return environ


def call(application: Callable, environ: dict) -> Answer:
    """Call the application. What it answers whole is read and closed here, in its own thread."""
    started: list = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
        started[:] = [int(status.split(" ", 1)[0]), headers]

    result = application(environ, start_response)
    status, pairs = started
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]
    close = getattr(result, "close", lambda: None)
    live = getattr(result, "live", None)
    if live is not None:
        return Answer(status, headers, close=close, live=live)
    if _is_whole(result, headers):
        try:
            return Answer(status, headers, body=b"".join(result), onward=getattr(result, "onward", None))
        finally:
            close()
    return Answer(status, headers, blocks=iter(result), close=close)


def _is_whole(result: Iterable[bytes], headers: Headers) -> bool:
    if isinstance(result, list | tuple) or getattr(result, "streaming", None) is False:
        return True
    length = dict(headers).get(b"content-length", b"")
    return length.isdigit() and int(length) <= JOINED


def gather(blocks: Iterator[bytes], least: int) -> bytes:
    """The next blocks, together at least `least` bytes; b"" at the end."""
    found, size = [], 0
    for block in blocks:
        found.append(block)
        size += len(block)
        if size >= least:
            break
    return found[0] if len(found) == 1 else b"".join(found)


class Unread:
    """A body that has not come yet: whoever reads it is told to wait, and `wanted` says that someone did."""

    def __init__(self) -> None:
        self.wanted = False

    def read(self, *_: object) -> bytes:
        """Never gives anything; OSError."""
        self.wanted = True
        raise OSError("the body has not been received yet")

    readline = readlines = __iter__ = read
