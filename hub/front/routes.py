"""What the front asks Django's routes."""

from django.urls import Resolver404, resolve


def route_of(method: str, path: str) -> str:
    """ "pieces" for a route that appends a body at `Upload-Offset`, "live" for one of event streams, else "".

    "stream" takes a body in pieces as "pieces" does, but always from its begin, and "file" takes a large one whole. A
    view says so by its attribute `front`, {method: kind}.
    """
    try:
        view = resolve(path).func
    except Resolver404:
        return ""
    return getattr(getattr(view, "cls", view), "front", {}).get(method, "")
