"""Who is at the other end of the connection."""

from django.http import HttpRequest


def address_of(request: HttpRequest) -> str:
    """The address that a request came from."""
    return request.META.get("REMOTE_ADDR", "")
