"""The receiving end of a webhook: a signed event of the hub wakes whoever waits.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over `id.timestamp.body` by
the bytes whose base64 follows `whsec_`. What isn't signed so, or is older than five minutes, is answered with 401.
"""

import base64
import binascii
import hashlib
import hmac
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hubctl.errors import Refused

MOST_BYTES = 1 << 20
SECONDS_OLD = 300
SECONDS_SLOW = 10.0


def key_of(secret: str) -> bytes:
    """The key of a `whsec_…`; Refused where it is none."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith("whsec_") or not key:
        raise Refused(
            "HUBCTL_WEBHOOK_SECRET is not a webhook's secret: set it to the whsec_… that the hub showed when the "
            "webhook was made."
        )
    return key


def is_signed(key: bytes, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether the body comes from who has the key, and is new."""
    sent, stamp = headers.get("webhook-id") or "", headers.get("webhook-timestamp") or ""
    if not sent or not stamp.isascii() or not stamp.isdigit() or abs(now - int(stamp[:15])) > SECONDS_OLD:
        return False
    right = b"v1," + base64.b64encode(hmac.new(key, f"{sent}.{stamp}.".encode() + body, hashlib.sha256).digest())
    given = (headers.get("webhook-signature") or "").split()
    return any(hmac.compare_digest(one.encode(), right) for one in given)


@contextmanager
def listening(address: str, secret: str, wake: threading.Event) -> Iterator[str]:
    """Listen at `PORT` or `HOST:PORT` (127.0.0.1 by default, for a proxy that speaks HTTPS), setting `wake` at each
    signed event; gives the address that it listens at. Refused where the port is taken or the address is none."""
    host, _, port = address.rpartition(":")
    key = key_of(secret)
    try:
        server = _Server((host.strip("[]") or "127.0.0.1", int(port)), _handler(key, wake))
    except (OSError, ValueError, OverflowError) as error:
        raise Refused(f"can't listen at {address!r}: {error}. Give PORT or HOST:PORT, of a free port.") from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{server.server_address[0]}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True


def _handler(key: bytes, wake: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SECONDS_SLOW

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length") or ""
            if not length.isascii() or not length.isdigit() or int(length[:12]) > MOST_BYTES:
                return self._answer(413 if length else 411)
            body = self.rfile.read(int(length))
            if not is_signed(key, self.headers, body, time.time()):
                return self._answer(401)
            wake.set()
            self._answer(204)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """What strangers send is no news."""

    return Handler
