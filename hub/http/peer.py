"""Who the client of a request is, by the site's trusted proxies; see `hub.front.peers`."""

from django.conf import settings
from django.http import HttpRequest

from hub.front import peers


def address_of(request: HttpRequest) -> str:
    """The client's address as text; "" where the server does not know its peer."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return peers.address_of(request.META.get("REMOTE_ADDR", ""), forwarded, settings.TRUSTED_PROXIES)


def is_trusted(peer: str) -> bool:
    """Whether the peer of a connection is one of HUB_TRUSTED_PROXIES."""
    return peers.is_trusted(peer, settings.TRUSTED_PROXIES)
