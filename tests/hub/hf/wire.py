"""A client of the protocol for tests, by wire: what huggingface_hub sends, without it."""

import base64
import hashlib
import io
import json

from django.test import Client

from hub.models import Repository, User
from hub.services import arrivals, tokens
from hub.services.content.manifest import Entry

ALL = ("read", "write", "admin")


class Hf:
    """Calls about one repository as one user by a token, or anonymously."""

    def __init__(self, user: User | None, repository: Repository | str, scopes=ALL) -> None:
        self.http, self.user, self.repository = Client(raise_request_exception=False), user, repository
        secret = tokens.create_token(actor=user, name="test", scopes=scopes)[1] if user else None
        self.headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        dataset = isinstance(repository, Repository) and repository.is_dataset
        name = repository.full_name if isinstance(repository, Repository) else repository
        self.root = f"/api/{'datasets' if dataset else 'models'}/{name}"

    def post(self, path: str, body: object = None, *, raw: bytes | None = None, **headers: str):
        data, kind = (json.dumps(body).encode(), "application/json") if raw is None else (raw, "application/x-ndjson")
        return self.http.post(self.root + path, data, content_type=kind, headers=self.headers | headers)

    def get(self, path: str):
        return self.http.get(self.root + path, headers=self.headers)

    def preupload(self, files: dict[str, bytes], rev: str = "main", **more: object):
        shown = [
            {"path": path, "size": len(data), "sample": base64.b64encode(data[:512]).decode()}
            for path, data in files.items()
        ]
        return self.post(f"/preupload/{rev}", {"files": shown, **more})

    def commit(self, *lines: dict, summary: str = "a commit", rev: str = "main", **header: object):
        return self.post(f"/commit/{rev}", raw=body(*lines, summary=summary, **header))

    def push(self, files: dict[str, bytes], **more: object):
        """Commit all files inside the commit."""
        return self.commit(*(put(path, data) for path, data in files.items()), **more)

    def arrive(self, data: bytes) -> str:
        """Bytes that come before their commit; their SHA-256."""
        entry = Entry(hashlib.sha256(data).hexdigest(), len(data))
        arrivals.receive(actor=self.user, repository=self.repository, stream=io.BytesIO(data), entry=entry)
        return entry.sha256


def body(*lines: dict, summary: str = "a commit", **header: object) -> bytes:
    every = [{"key": "header", "value": {"summary": summary, "description": "", **header}}, *lines]
    return b"".join(json.dumps(line).encode() + b"\n" for line in every)


def put(path: str, data: bytes) -> dict:
    content = base64.b64encode(data).decode()
    return {"key": "file", "value": {"content": content, "path": path, "encoding": "base64"}}


def lfs(path: str, oid: str, size: int | None = None) -> dict:
    known = {} if size is None else {"size": size}
    return {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, **known}}


def delete(path: str, *, folder: bool = False) -> dict:
    return {"key": "deletedFolder" if folder else "deletedFile", "value": {"path": path}}
