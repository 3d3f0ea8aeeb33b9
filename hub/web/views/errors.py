"""The pages that say no: what was asked, why not, what to do; and the one that says it was our fault."""

import logging
import sys

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.loader import render_to_string

from composition.errors import CompositionError
from hub import faults, logs
from hub.errors import HubError, Renamed

log = logging.getLogger(__name__)
TITLES = {
    400: "The request can't be read",
    403: "Not with your role",
    404: "Nothing here that you can see",
    405: "Method not allowed",
    409: "Something is in the way",
    416: "No such part of the file",
    422: "That can't be used",
    429: "Too many at once",
    507: "No room to store this",
}
UNSEEN = "Check the address for a typo. If it is private, sign in as someone who may see it."


def refusal_page(request: HttpRequest, error: HubError | CompositionError) -> HttpResponse:
    """The page of one refusal; somebody who is not signed in is taken to the sign-in page and back."""
    status = getattr(error, "status", 422)
    if status == 401:
        back = request.get_full_path() if request.method == "GET" else "/"
        return redirect_to_login(back)
    if isinstance(error, Renamed):
        leads = HttpResponseRedirect(error.way_on(request))
        leads.status_code = status
        return leads
    page = _page(request, status, error.message, error.code, mend=error.facts.get("page", ""))
    for name, value in getattr(error, "headers", {}).items():
        page[name] = value
    return page


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's own 400: a host or a body that can't be read."""
    return _page(request, 400, "The request can't be read. Go back, reload the page and try again.")


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django's own 403."""
    return _page(request, 403, "You may not do this here.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without its token: an old page, or another site's form."""
    return _page(request, 403, "This form was too old to be trusted. Go back, reload the page and send it again.")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """An address no route claims."""
    return _page(request, 404, UNSEEN)


def server_error(request: HttpRequest) -> HttpResponse:
    """Our fault: logged under an id, and the page gives the id; 503 where it passes by itself."""
    error = sys.exc_info()[1]
    if error is not None and (fault := faults.passing(error)):
        log.warning("%s %s: %s: %s", request.method, request.path, fault, error)
        # Without the request: what the frame shows may need what is away.
        page = render_to_string("errors/away.html", {"fault": fault})
        return HttpResponse(page, status=503, headers={"Retry-After": str(faults.SECONDS_TO_RETRY)})
    incident = logs.request_id() or logs.new_id()
    log.error("incident %s: %s %s", incident, request.method, request.path, exc_info=sys.exc_info())
    return render(request, "errors/broken.html", {"incident": incident}, status=500)


def _page(request: HttpRequest, status: int, message: str, code: str = "", mend: object = "") -> HttpResponse:
    page = {"status": status, "title": TITLES.get(status, "Refused"), "message": message, "code": code, "mend": mend}
    return render(request, "errors/refusal.html", page, status=status)
