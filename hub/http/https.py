"""Whether a request came by HTTPS: the server's own word, or that of a proxy in HUB_TRUSTED_PROXIES."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from hub.front.peers import is_trusted

HEADER = "HTTP_X_FORWARDED_PROTO"


class ForwardedProtocol:
    """Drops X-Forwarded-Proto from anyone else, since Django's SECURE_PROXY_SSL_HEADER believes whoever sends it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if HEADER in request.META and not is_trusted(request.META.get("REMOTE_ADDR", ""), settings.TRUSTED_PROXIES):
            del request.META[HEADER]
        return self.get_response(request)
