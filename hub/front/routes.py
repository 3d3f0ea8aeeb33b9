"""What the front asks Django's routes."""

from django.urls import Resolver404, resolve


def takes_pieces(method: str, path: str) -> bool:
    """True for a route that appends a body at `Upload-Offset`; its view says so by `takes_pieces`, the methods."""
    try:
        view = resolve(path).func
    except Resolver404:
        return False
    return method in getattr(getattr(view, "cls", view), "takes_pieces", ())
