"""The client's address, for the audit log."""

import ipaddress
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from hub import origin


def address_of(request: HttpRequest) -> str | None:
    """The peer's IP address; None where the server speaks through a socket without one.

    An X-Forwarded-For header, which anyone can write, is not believed.
    """
    try:
        return str(ipaddress.ip_address(request.META.get("REMOTE_ADDR", "").partition("%")[0]))
    except ValueError:
        return None


class KeepAddress:
    """Lets `hub.origin` tell the address while a request is answered."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with origin.coming_from(address_of(request)):
            return self.get_response(request)
