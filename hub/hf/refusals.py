"""What is refused, in the words that the stock client reads: `X-Error-Code`, `X-Error-Message`, `{"error": …}`.

The client tells a missing repository from a missing file by the code alone, and prints the message; over plain http it
guesses nothing from a status. 5xx and 429 are tried again for half a minute, so they are for faults that pass.
"""

import logging
from collections.abc import Mapping

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from composition.errors import CompositionError
from hub import disk, faults, logs
from hub.errors import HubError, NotFound, Renamed, conflict_of
from hub.xet.errors import XetError

log = logging.getLogger(__name__)

CODE, MESSAGE = "X-Error-Code", "X-Error-Message"
REPOSITORY, REVISION, ENTRY, GATED = "RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo"
CODES = {"revision_not_found": REVISION, "file_not_found": ENTRY, "repository_not_found": REPOSITORY, "gated": GATED}
"""A refusal's own code → the protocol's."""
LONGEST = 2000
PLAIN = str.maketrans({"…": "...", "’": "'", "“": '"', "”": '"', "→": "->", "×": "x", "–": "-"})
"""What texts of ours have that a header can't hold, and what stands for it there."""


class RepositoryMissing(NotFound):
    """Missing or private, to this viewer: 404, and 401 for who has not signed in, as the client expects."""

    code = "repository_not_found"

    def __init__(self, *, anonymous: bool) -> None:
        super().__init__("Repository not found")
        self.status = 401 if anonymous else 404


class IsBase(RepositoryMissing):
    """No repository, but a base of which the hub has files: views of reading answer with it, see `views.bases`."""

    def __init__(self, name: str, *, anonymous: bool) -> None:
        super().__init__(anonymous=anonymous)
        self.name = name


class KeptElsewhere(NotFound):
    """No id of this hub: 404 without a code of the protocol, so that a client goes on to what is in its own cache.

    With the code RepoNotFound transformers gives up, also on a base that it has whole: it asks for optional files too.
    """

    code = "kept_elsewhere"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not kept in this hub, and your client has not all of it in its own cache. Load it once without "
            "HF_ENDPOINT, or take only the adapter from here: PeftModel.from_pretrained(…) of a folder that "
            "snapshot_download(…, endpoint=…) or `hubctl pull` made."
        )


class RouteMissing(NotFound):
    """An address of the protocol that this hub does not know: plain 404, without a code of the protocol."""

    code = "route_not_found"


def refusal(
    status: int, message: str, *, code: str = "", headers: Mapping[str, str] = {}, facts: Mapping[str, object] = {}
) -> Response:
    """The one shape of a refusal. `facts` are further members of the body, as `url`."""
    said = {MESSAGE: in_a_header(message), **({CODE: code} if code else {}), **headers}
    return Response({"error": message[:LONGEST], **facts}, status=status, headers=said)


def refusal_of(error: Exception, context: dict) -> Response:
    """DRF's exception handler: what was raised, as the client reads it."""
    set_rollback()
    error = disk.refusal_of(error) or conflict_of(error) or error
    if isinstance(error, Renamed):
        return refusal(error.status, error.message, headers={"Location": error.way_on(context["request"])})
    if isinstance(error, HubError):
        facts = {"url": error.facts["url"]} if "url" in error.facts else {}
        return refusal(error.status, error.message, code=CODES.get(error.code, ""), headers=error.headers, facts=facts)
    if isinstance(error, CompositionError):
        return refusal(400 if isinstance(error, XetError) else 422, error.message)
    if isinstance(error, exceptions.AuthenticationFailed | exceptions.NotAuthenticated):
        return refusal(401, "Invalid credentials in Authorization header", headers={"WWW-Authenticate": "Bearer"})
    if isinstance(error, exceptions.APIException):
        headers = {"Retry-After": str(int(error.wait) + 1)} if getattr(error, "wait", None) else {}
        return refusal(error.status_code, _sentence(error.detail), headers=headers)
    if isinstance(error, Http404):
        return refusal(404, "There is nothing here.")
    if isinstance(error, RequestDataTooBig):
        return refusal(413, "The request body is larger than this route takes.")
    if isinstance(error, UnreadablePostError | SuspiciousOperation):
        return refusal(400, "The request can't be read, or its body ended early.")
    if fault := faults.passing(error):
        log.warning("%s: %s", fault, error)
        return refusal(503, f"{fault}. Try again in a moment.", headers={"Retry-After": str(faults.SECONDS_TO_RETRY)})
    return _own_fault(error, context)


def _own_fault(error: Exception, context: dict) -> Response:
    incident = logs.request_id() or logs.new_id()
    request = context.get("request")
    where = f"{request.method} {request.path}" if request is not None else "?"
    log.error("incident %s: %s", incident, where, exc_info=error)
    return refusal(500, f"Something broke on our side; nothing was changed. Tell the operator: {incident}.")


def _sentence(detail: object) -> str:
    """The first sentence of DRF's nested lists and dicts."""
    while isinstance(detail, dict | list) and detail:
        detail = next(iter(detail.values())) if isinstance(detail, dict) else detail[0]
    return str(detail)


def in_a_header(message: str) -> str:
    """One line of printable ASCII: what a header may hold everywhere."""
    line = " ".join(message.translate(PLAIN).split())[:LONGEST]
    return line.encode("ascii", "replace").decode()
