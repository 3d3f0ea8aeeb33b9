"""What every page's answer carries, and how a refusal becomes a page.

The Content-Security-Policy allows our own files only: no inline script or style, no other host, no framing.
"""

from django.http import HttpRequest, HttpResponse

from composition.errors import CompositionError
from hub import disk
from hub.errors import DiskFull, HubError, Invalid, conflict_of
from hub.http.programs import answers_programs
from hub.web.moved import Moved, way_on
from hub.web.views.errors import refusal_page

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)

# Pages that take a POST also when the disk is nearly full: they free room, or are needed to.
FREES = {"sign_in", "sign_out", "delete", "cancel_job", "revoke_token", "companion", "change_member", "basket"}
FREES |= {"admin_user", "admin_cancel", "admin_quotas", "purge", "sign_in_code", "job_priority", "admin_priority"}
# Forms whose service refuses then by itself, so that what was typed stays on the page.
KEEPS_TYPED = {"edit_card", "merge", "evaluate", "new_job", "generate", "train_generator", "transfer", "try"}


def is_page(request: HttpRequest) -> bool:
    """True for the pages; the API answers for itself."""
    return not request.path.startswith("/api/")


class ContentSecurityPolicy:
    """Sets the policy on every page that has not set its own."""

    def __init__(self, get_response) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if is_page(request):
            response.headers.setdefault("Content-Security-Policy", POLICY)
            response.headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
        return response


class RefusalPages:
    """A `HubError` or `CompositionError` that leaves a page's view becomes the page that explains it.

    What would store something new is refused before, where the disk is nearly full.
    """

    def __init__(self, get_response) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view, args, kwargs) -> HttpResponse | None:
        stores = request.method == "POST" and request.resolver_match.url_name not in FREES | KEEPS_TYPED
        # A view of the protocol refuses by itself, also at an address like a page's.
        if is_page(request) and not answers_programs(view) and stores and (reason := disk.low()):
            return refusal_page(request, DiskFull(reason))
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not is_page(request):
            return None
        if isinstance(error, Moved):
            return way_on(request)
        error = disk.refusal_of(error) or conflict_of(error) or error
        if isinstance(error, HubError | CompositionError):
            return refusal_page(request, error)
        return None


class NoNul:
    """A NUL character in a page's query or form, which PostgreSQL can't store, is refused before any view reads it."""

    def __init__(self, get_response) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view, args, kwargs) -> HttpResponse | None:
        if not is_page(request):
            return None
        sent = (text for form in (request.GET, request.POST) for _, texts in form.lists() for text in texts)
        if any("\0" in text for text in sent):
            return refusal_page(request, Invalid("The form holds a NUL character. Remove it and send it again."))
        return None
