"""Who the client of a request is, and whether it came by HTTPS, by the word of HUB_TRUSTED_PROXIES alone.

See `hub.front.peers`.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from hub.front import peers

PROTOCOL = "HTTP_X_FORWARDED_PROTO"


def address_of(request: HttpRequest) -> str:
    """The client's address as text; "" where the server does not know its peer."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return peers.address_of(request.META.get("REMOTE_ADDR", ""), forwarded, settings.TRUSTED_PROXIES)


def is_trusted(peer: str) -> bool:
    """Whether the peer of a connection is one of HUB_TRUSTED_PROXIES."""
    return peers.is_trusted(peer, settings.TRUSTED_PROXIES)


class ForwardedProtocol:
    """Drops X-Forwarded-Proto from anyone else, since Django's SECURE_PROXY_SSL_HEADER believes whoever sends it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if PROTOCOL in request.META and not is_trusted(request.META.get("REMOTE_ADDR", "")):
            del request.META[PROTOCOL]
        return self.get_response(request)
