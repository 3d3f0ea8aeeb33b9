"""The outermost middleware: every request gets an id, is counted and timed, and leaves one line in the log."""

import logging
import re
import time

from django.http import HttpRequest, HttpResponse

from hub import logs
from hub.http import metrics
from hub.http.peer import is_trusted

HEADER = "X-Request-ID"
ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
QUIET = ("/healthz", "/readyz", "/metrics", "/static/")

log = logging.getLogger("hub.requests")


class Observing:
    """The id comes from `X-Request-ID` where a trusted proxy has set one; anybody could write the header."""

    def __init__(self, get_response) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        name, start = _given(request) or logs.new_id(), time.perf_counter()
        with logs.in_request(name):
            response = self.get_response(request)
            seconds = time.perf_counter() - start
            if not _is_inner(request):
                metrics.count(request, response.status_code, seconds)
                if not request.path.startswith(QUIET):
                    _say(request, response, seconds)
        response[HEADER] = name
        return response


def _is_inner(request: HttpRequest) -> bool:
    """Whether the front asks for itself: a further piece of a body, or what a route would say. No client can say so."""
    meta = request.META
    return bool(meta.get("hub.piece") or meta.get("hub.asked_first") or meta.get("hub.again"))


def _given(request: HttpRequest) -> str:
    given = request.headers.get(HEADER, "")
    return given if ID.fullmatch(given) and is_trusted(request.META.get("REMOTE_ADDR", "")) else ""


def _say(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    user = getattr(request, "user", None)
    facts = {
        "method": request.method,
        "path": request.path,
        "status": response.status_code,
        "ms": round(seconds * 1000, 1),
        "user": user.pk if user is not None and user.is_authenticated else None,
    }
    log.info("%(method)s %(path)s %(status)s %(ms)s ms", facts, extra=facts)
