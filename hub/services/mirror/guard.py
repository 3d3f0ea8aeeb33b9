"""What the mirror may ask for, and where: ids of HUB_MIRROR_ALLOW, the endpoint, and the hosts it may redirect to.

A host is resolved once and the connection goes to the address that was checked, as for webhooks. No token is ever
sent, no proxy of the environment is used, and the time and the bytes of everything are bounded.
"""

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from urllib.parse import SplitResult, urljoin, urlsplit

import httpcore
from django.conf import settings

from hub.models import fold
from hub.services.webhooks.addresses import Refused, resolve
from hub.services.webhooks.exchange import Pinned

REDIRECTS = (301, 302, 303, 307, 308)
MOST_REDIRECTS = 4
LOOK_UP_SECONDS = 10.0
TOO_LONG = "it takes longer than HUB_MIRROR_SECONDS"


class NotFetched(Exception):
    """The mirror could not fetch it; the sentence says why."""


def is_wanted(name: str) -> bool:
    """Whether the operator lets the mirror fetch this id."""
    return bool(settings.MIRROR) and any(fnmatchcase(fold(name), fold(pattern)) for pattern in settings.MIRROR_ALLOW)


@contextmanager
def get(url: str, *, until: float) -> Iterator["Body"]:
    """The body of a GET, redirects followed within the lists. NotFetched for any other answer than 200."""
    try:
        for _ in range(MOST_REDIRECTS + 1):
            parts = _checked(url)
            with _asked(parts, until) as response:
                if response.status not in REDIRECTS:
                    if response.status != 200:
                        raise NotFetched(f"{parts.hostname} answers {response.status} for {parts.path}")
                    yield Body(response, until)
                    return
                url = urljoin(url, _header(response.headers, b"location"))
        raise NotFetched(f"{urlsplit(settings.MIRROR).hostname} redirects more than {MOST_REDIRECTS} times")
    except Refused as refused:
        raise NotFetched(str(refused)) from None
    except httpcore.TimeoutException as error:
        raise NotFetched(TOO_LONG if time.monotonic() >= until else f"it does not answer: {error}") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        raise NotFetched(f"{type(error).__name__}: {error}") from None


class Body:
    """A body as a stream to read from."""

    def __init__(self, response: httpcore.Response, until: float) -> None:
        self.pieces, self.left, self.until = response.iter_stream(), b"", until

    def read(self, size: int) -> bytes:
        """At most `size` of the next bytes, b"" at the end."""
        if time.monotonic() > self.until:
            raise NotFetched(TOO_LONG)
        while not self.left:
            piece = next(self.pieces, None)
            if piece is None:
                return b""
            self.left = piece
        data, self.left = self.left[:size], self.left[size:]
        return data


def _checked(url: str) -> SplitResult:
    """The parts of an address that is on the lists; Refused for any other."""
    try:
        parts, own = urlsplit(url), urlsplit(settings.MIRROR)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Refused("it redirects to what is no address") from None
    listed = any(fnmatchcase(host, pattern.lower()) for pattern in settings.MIRROR_HOSTS)
    if (parts.scheme, parts.netloc) != (own.scheme, own.netloc) and not (listed and port in (None, 443)):
        raise Refused(f"it redirects to {host or 'no host'}, which is none of HUB_MIRROR_HOSTS")
    if parts.scheme not in ("https", "http") or parts.username is not None:
        raise Refused(f"it redirects to {host} by {parts.scheme or 'no scheme'}, and only https is followed")
    return parts


@contextmanager
def _asked(parts: SplitResult, until: float) -> Iterator[httpcore.Response]:
    address = resolve(parts, seconds=LOOK_UP_SECONDS, networks=settings.MIRROR_NETWORKS)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    url = httpcore.URL(scheme=parts.scheme, host=parts.hostname, port=parts.port, target=target)
    headers = {"Host": parts.netloc, "Accept-Encoding": "identity", "User-Agent": "adapter-hub mirror"}
    with (
        httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context(), network_backend=Pinned(address, until)
        ) as pool,
        pool.stream("GET", url, headers=list(headers.items())) as response,
    ):
        yield response


def _header(headers: Mapping | list, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key.lower() == name), "")
