"""A client of all routes of the protocol for tests: one user by a token, JSON in, the answer as it came."""

import json
from urllib.parse import urlencode

from django.test import Client

from hub.models import User
from hub.services import tokens

ALL = ("read", "write", "admin")


class Asker:
    """Calls as one user, or anonymously; `again` follows a redirect as the stock client does."""

    def __init__(self, user: User | None = None, scopes=ALL, **limit: str) -> None:
        self.http = Client(raise_request_exception=False)
        secret = tokens.create_token(actor=user, name="test", scopes=scopes, **limit)[1] if user else None
        self.headers = {"Authorization": f"Bearer {secret}"} if secret else {}

    def __call__(self, method: str, path: str, body: object = None, *, again: bool = False, **headers: str):
        data = b"" if body is None else json.dumps(body).encode()
        named = self.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self.http.generic(method, path, data, content_type="application/json", headers=named)
        if again and answer.status_code == 307:
            return self(method, answer.headers["Location"], body, **headers)
        return answer

    def get(self, path: str, **more):
        return self("GET", path, **more)

    def json(self, path: str, **more):
        """The body of a GET that is answered."""
        answer = self.get(path, **more)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def form(self, path: str, **fields: object):
        kind = "application/x-www-form-urlencoded"
        return self.http.post(path, urlencode(fields, doseq=True), content_type=kind, headers=self.headers)


def refused(answer, status: int, code: str | None, words: str = "") -> dict:
    """The body of a refusal, after checking its status, its code in the header and its words in header and body."""
    assert answer.status_code == status, answer.content
    assert answer.headers.get("X-Error-Code") == code
    assert words in answer.headers["X-Error-Message"] and words in answer.json()["error"], answer.json()
    return answer.json()


def bytes_of(answer) -> bytes:
    """The body of a file's answer."""
    return b"".join(answer.streaming_content) if answer.streaming else answer.content
