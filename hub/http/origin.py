"""Lets `hub.origin` tell where a request comes from, for the audit log."""

import ipaddress
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from hub import origin
from hub.http.peer import address_of


class KeepAddress:
    """The client's address is known while its request is answered; None where its server has none to tell."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with origin.coming_from(_address(request)):
            return self.get_response(request)


def _address(request: HttpRequest) -> str | None:
    try:
        return str(ipaddress.ip_address(address_of(request).partition("%")[0]))
    except ValueError:
        return None
