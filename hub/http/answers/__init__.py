"""What is done to answers on their way out: compression, and "unchanged" for who has them already.

Both concern pages and JSON. Files, their ranges and event streams go out as they are.
"""

from django.http import HttpRequest, HttpResponse
from django.middleware.gzip import GZipMiddleware
from django.middleware.http import ConditionalGetMiddleware
from django.utils.cache import patch_vary_headers

COMPRESSED = ("text/html", "application/json", "application/problem+json", "application/vnd.oai.openapi+json")
SHOWS_SECRETS = frozenset({"tokens", "second_factor", "recovery_codes", "webhooks", "webhook"})
"""Pages that may show a secret which stays the same from one answer to the next."""


def _is_plain(request: HttpRequest, response: HttpResponse, types: tuple[str, ...]) -> bool:
    """Whether this is a whole answer to a GET of one of these types, and no file."""
    kind = response.get("Content-Type", "").partition(";")[0].strip()
    return (
        request.method == "GET" and not response.streaming and kind in types and "Content-Disposition" not in response
    )


class Compression(GZipMiddleware):
    """gzip for pages and JSON.

    The size of a compressed answer tells whether what an attacker made the hub repeat is in it already (BREACH). So
    Django's middleware adds up to 100 random bytes, its CSRF token is another in each answer, secrets that are made by
    a POST go out in an answer that isn't compressed, and so do pages that show one again.
    """

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        named = getattr(request.resolver_match, "url_name", None)
        secret = named in SHOWS_SECRETS or "token" in request.path or "no-store" in response.get("Cache-Control", "")
        if secret or not _is_plain(request, response, COMPRESSED):
            return response
        return super().process_response(request, response)


class Unchanged(ConditionalGetMiddleware):
    """An ETag for each of the API's answers, and 304 without a body for who names it in `If-None-Match`.

    What is answered depends on who asks: nobody between keeps it for others, and a client asks anew each time.
    """

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if not request.path.startswith("/api/") or response.status_code != 200:
            return response
        if not _is_plain(request, response, ("application/json",)):
            return response
        response.setdefault("Cache-Control", "private, no-cache")
        patch_vary_headers(response, ["Authorization", "Cookie"])
        return super().process_response(request, response)
