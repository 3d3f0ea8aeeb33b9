"""The way on from an address that holds a repository's former name: the same address with the name of today."""

import re
from urllib.parse import quote

from django.http import HttpRequest

from hub.errors import Renamed


def way_on(request: HttpRequest, error: Renamed) -> str:
    """Path and query, relative to the host, so that clients go on with their token. RFC 9110 §15.4.8: 307."""
    before, after = (f"/{name}" for name in (error.facts["before"], error.facts["after"]))
    here = re.compile(rf"{re.escape(before)}(?=[/.]|$)", re.IGNORECASE)
    path = request.META.get("hub.raw_path", "")
    if not here.search(path):
        path = quote(request.path)
    moved = here.sub(lambda _: after, path, count=1) if here.search(path) else after
    query = request.META.get("QUERY_STRING", "")
    return f"{moved}?{query}" if query else moved
