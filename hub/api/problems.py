"""Every refusal as `application/problem+json` (RFC 9457): type, title, status, code, detail, and facts for programs.

An error that the user can fix says how. Ours are logged under an id, and the answer gives that id and nothing else.
"""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from composition.errors import CompositionError
from hub import disk, faults, logs
from hub.errors import HubError, Renamed, conflict_of

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
# A refusal that says a value back says no more of it than this many characters.
LONGEST = 4000
RESERVED = {"type", "title", "status", "code", "detail"}


def problem(
    status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, facts: Mapping[str, object] = {}
) -> Response:
    """The one shape of a refusal. Facts never overwrite the five fixed members, and are always JSON."""
    body = {"type": f"urn:hub:problem:{code}", "title": HTTPStatus(status).phrase, "status": status}
    plain = _cut(json.loads(json.dumps(dict(facts), default=str), parse_constant=str))
    body |= {"code": code, "detail": _cut(detail)}
    body |= {name: fact for name, fact in plain.items() if name not in RESERVED}
    return Response(body, status=status, headers=headers, content_type=CONTENT_TYPE)


def _cut(value: Any) -> Any:
    """The value with its texts cut to their longest."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
    if isinstance(value, dict):
        return {_cut(name): _cut(one) for name, one in value.items()}
    return [_cut(one) for one in value] if isinstance(value, list) else value


def problem_response(error: Exception, context: dict) -> Response:
    """DRF's exception handler: what was raised, as a problem."""
    set_rollback()
    error = disk.refusal_of(error) or conflict_of(error) or error
    if isinstance(error, HubError):
        headers = error.headers | ({"WWW-Authenticate": _challenge(context)} if error.status == 401 else {})
        headers |= {"Location": error.way_on(context["request"])} if isinstance(error, Renamed) else {}
        return problem(error.status, error.code, error.message, headers=headers, facts=error.facts)
    if isinstance(error, CompositionError):
        return problem(422, error.code, error.message, facts=error.facts)
    if isinstance(error, exceptions.APIException):
        return _framework_problem(error)
    if isinstance(error, Http404):
        return problem(404, "not_found", "There is nothing here that you may see.")
    if isinstance(error, PermissionDenied):
        return problem(403, "permission_denied", "You may not do this.")
    if isinstance(error, RequestDataTooBig):
        return problem(413, "body.too_large", "The request body is larger than this route takes.")
    if isinstance(error, UnreadablePostError):
        return problem(400, "body.cut", "The request body ended early: ask how much was received, and resume there.")
    if isinstance(error, SuspiciousOperation):
        return problem(400, "bad_request", "The request can't be read.")
    if fault := faults.passing(error):
        return _later(fault, error, context)
    return _own_fault(error, context)


def _challenge(context: dict) -> str:
    return context["view"].get_authenticate_header(context["request"]) or "Bearer"


def _framework_problem(error: exceptions.APIException) -> Response:
    """DRF's own errors: validation (422 with the field), malformed JSON, method, media type, throttle, sign-in."""
    headers = {}
    if getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = error.auth_header
    if getattr(error, "wait", None):
        headers["Retry-After"] = str(int(error.wait) + 1)
    if isinstance(error, exceptions.ValidationError):
        field, message = first_error(error.detail)
        facts = {"field": field, "errors": error.detail}
        return problem(422, "invalid", f"{field}: {message}" if field else message, facts=facts)
    code = {"authentication_failed": "token.invalid", "parse_error": "json.malformed"}.get(
        error.detail.code, error.detail.code
    )
    return problem(error.status_code, code, str(error.detail), headers=headers)


def first_error(detail: object, path: str = "") -> tuple[str, str]:
    """The first offending field, as `files.0.size`, and its sentence, out of DRF's nested lists and dicts."""
    while isinstance(detail, dict | list) and detail:
        if isinstance(detail, dict):
            key, detail = next(iter(detail.items()))
            path = path if key == "non_field_errors" else f"{path}.{key}".strip(".")
        elif isinstance(detail[0], dict | list):
            place = next(place for place, item in enumerate(detail) if item)
            path, detail = f"{path}.{place}".strip("."), detail[place]
        else:
            detail = detail[0]
    return path, str(detail)


def _later(fault: str, error: Exception, context: dict) -> Response:
    request = context.get("request")
    log.warning("%s %s: %s", request.method if request is not None else "?", fault, error)
    say = f"{fault}. Try again in a moment; a request that was answered before is safe."
    return problem(503, "away", say, headers={"Retry-After": str(faults.SECONDS_TO_RETRY)})


def _own_fault(error: Exception, context: dict) -> Response:
    incident = logs.request_id() or logs.new_id()
    request = context.get("request")
    where = f"{request.method} {request.path}" if request is not None else "?"
    log.error("incident %s: %s", incident, where, exc_info=error)
    say = f"Something broke on our side; nothing was changed. Tell the operator: {incident}."
    return problem(500, "internal", say, facts={"id": incident})
