"""A client of /api/v1 for tests: a bearer token and JSON in, a parsed answer out."""

import hashlib
import json
from collections.abc import Mapping

from django.test import Client

from hub.models import User
from hub.services import tokens

ALL = ("read", "write", "admin")


class Api:
    """Calls as one user by a token of these scopes, or anonymously."""

    def __init__(self, user: User | None = None, scopes=ALL, secret: str | None = None) -> None:
        self.http = Client(raise_request_exception=False)
        if user is not None:
            secret = tokens.create_token(actor=user, name="test", scopes=scopes)[1]
        self.headers = {"Authorization": f"Bearer {secret}"} if secret else {}

    def __call__(self, method: str, path: str, body: object = None, *, raw: bytes | None = None, **headers: str):
        """The response; `body` goes as JSON, `raw` as it is; header names with `_` for `-`."""
        named = self.headers | {name.replace("_", "-"): str(value) for name, value in headers.items()}
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if raw is not None else "application/json"
        url = path if path.startswith("http") else f"/api/v1{path}"
        return self.http.generic(method, url, data, content_type=kind, headers=named)

    def get(self, path: str, **headers: str):
        return self("GET", path, **headers)

    def post(self, path: str, body: object = None, **headers: str):
        return self("POST", path, body, **headers)

    def put(self, path: str, body: object = None, **more):
        return self("PUT", path, body, **more)

    def delete(self, path: str):
        return self("DELETE", path)

    def push(self, name: str, files: Mapping[str, bytes], **options: object) -> dict:
        """Begin, send and commit; what was published."""
        upload = self.begin(name, files, **options).json()
        for row in upload["files"]:
            rest = files[row["path"]][row["received"] :]
            if rest:
                sent = self.send(upload["id"], row["path"], rest, row["received"])
                assert sent.status_code == 200, sent.content
        done = self.post(f"/uploads/{upload['id']}/commit")
        assert done.status_code in (200, 201), done.content
        return done.json()

    def begin(self, name: str, files: Mapping[str, bytes], **options: object):
        promised = [{"path": p, "size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for p, d in files.items()]
        return self.post(f"/repositories/{name}/uploads", {"files": promised, **options})

    def send(self, upload: str, path: str, data: bytes, offset: int):
        return self.put(f"/uploads/{upload}/files/{path}", raw=data, Upload_Offset=offset)


def problem(response, status: int, code: str) -> dict:
    """The problem's facts, after checking that it is one with this status and code."""
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert {"type", "title", "status", "code", "detail"} <= set(body)
    assert (body["status"], body["code"]) == (status, code), body
    return body
