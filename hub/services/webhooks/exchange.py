"""One HTTP request to an address that was checked, in bounded time.

No proxy of the environment, no redirects: both would choose another address. The certificate is checked for the host's
name, as always. The time is one deadline for everything, so that a receiver that drips its bytes holds nobody up.
"""

import ssl
import time
from collections.abc import Iterable
from urllib.parse import SplitResult

import httpcore

SECONDS = 10.0
ANSWER_BYTES = 1000


class NotDelivered(Exception):
    """This attempt failed; the outbox tries again."""


def exchange(
    parts: SplitResult, address: str, headers: dict[str, str], body: bytes, *, until: float
) -> tuple[int, str]:
    """POST `body` to the URL at `address`: (status, beginning of the answer). NotDelivered without an answer by
    `until`, on the monotonic clock."""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    url = httpcore.URL(scheme=parts.scheme, host=parts.hostname, port=parts.port, target=target)
    backend = Pinned(address, until)
    try:
        with (
            httpcore.ConnectionPool(ssl_context=ssl.create_default_context(), network_backend=backend) as pool,
            pool.stream("POST", url, headers=list(headers.items()), content=body) as response,
        ):
            found = b""
            for piece in response.iter_stream():
                found += piece
                if len(found) >= ANSWER_BYTES:
                    break
            return response.status, found[:ANSWER_BYTES].decode("utf-8", "replace").replace("\0", "")
    except httpcore.TimeoutException:
        raise NotDelivered(f"no whole answer within {SECONDS:.0f} seconds") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError, ValueError) as error:
        raise NotDelivered(f"{type(error).__name__}: {error}") from None


class Pinned(httpcore.SyncBackend):
    """Connects to the checked address, whatever name is asked for, and to the end by one deadline."""

    def __init__(self, address: str, until: float) -> None:
        self.address, self.until = address, until

    def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options: Iterable | None = None):
        stream = super().connect_tcp(self.address, port, _left(self.until), local_address, socket_options)
        return _Bounded(stream, self.until)


class _Bounded(httpcore.NetworkStream):
    """A stream whose every step ends by the same deadline."""

    def __init__(self, stream: httpcore.NetworkStream, until: float) -> None:
        self.stream, self.until = stream, until

    def read(self, max_bytes, timeout=None):
        return self.stream.read(max_bytes, _left(self.until))

    def write(self, buffer, timeout=None):
        self.stream.write(buffer, _left(self.until))

    def close(self):
        self.stream.close()

    def start_tls(self, ssl_context, server_hostname=None, timeout=None):
        return _Bounded(self.stream.start_tls(ssl_context, server_hostname, _left(self.until)), self.until)

    def get_extra_info(self, info):
        return self.stream.get_extra_info(info)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout("the deadline is over")
    return left
