"""What the front refuses before Django is asked: problem+json (RFC 9457) for programs, a plain page for people."""

import json
from html import escape
from http import HTTPStatus

Headers = list[tuple[bytes, bytes]]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{detail}</p></body></html>
"""


class Refused(Exception):
    """A request that is not taken: status, code, a sentence to act on. `retry_after` in seconds."""

    def __init__(self, status: int, code: str, detail: str, *, retry_after: int = 0, **facts: object) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.retry_after, self.facts = status, code, detail, retry_after, facts


def no_room(what: str) -> Refused:
    """Too much is held already of what takes memory or disk."""
    return Refused(503, "server.no_room", f"The server holds too many {what}: come back soon.", retry_after=10)


class Gone(Exception):
    """The client went away; there is nobody to answer."""


def answer_of(refused: Refused, path: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body of a refusal. The connection is closed, as the request may not have been read whole."""
    title = HTTPStatus(refused.status).phrase
    if path.startswith("/api/"):
        shown = {"type": f"urn:hub:problem:{refused.code}", "title": title, "status": refused.status}
        body = json.dumps({**shown, "code": refused.code, "detail": refused.detail, **refused.facts}).encode()
        headers = [(b"content-type", b"application/problem+json")]
    else:
        body = PAGE.format(title=escape(title), detail=escape(refused.detail)).encode()
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        headers.append((b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
    headers += [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
    headers += [(b"connection", b"close"), (b"content-length", str(len(body)).encode())]
    if refused.retry_after:
        headers.append((b"retry-after", str(refused.retry_after).encode()))
    return refused.status, headers, body
