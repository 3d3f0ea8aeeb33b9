"""Fetching one model: what the endpoint says it has, then each file, whose size and digest are proven as it comes."""

import hashlib
import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any
from urllib.parse import quote

from django.conf import settings

from hub import disk
from hub.names import OID
from hub.services.content.manifest import MAX_FILES, Entry, Manifest
from hub.services.mirror.guard import Body, NotFetched, get
from hub.storage import DIGEST, blobs

PROVENANCE = "provenance.json"
MAX_ANSWER = 8 << 20
NOT_TAKEN = "*.bin *.pt *.pth *.ckpt *.h5 *.msgpack *.onnx *.ot *.tflite *.py *.zip .*".split()
"""What the hub doesn't store, or clients of a base don't need beside its safetensors."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A file as the endpoint describes it; `sha256` is "" where it is none of LFS."""

    path: str
    size: int
    sha256: str
    git_oid: str


@dataclass(frozen=True, slots=True)
class Model:
    """A model as the endpoint describes it, with the files that are taken."""

    id: str
    commit: str
    licence: str
    files: tuple[Offered, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def look_up(name: str, *, until: float) -> Model:
    """What the endpoint has under this id. NotFetched where it has none, or one that is too large."""
    with get(f"{settings.MIRROR}/api/models/{quote(name)}?blobs=true", until=until) as body:
        said = _json(body)
    card, commit = said.get("cardData"), str(said.get("sha") or "")
    licence = card.get("license") if isinstance(card, dict) else ""
    files = tuple(filter(None, map(_offered, said.get("siblings") or [])))
    model = Model(str(said.get("id") or name), commit, licence if isinstance(licence, str) else "", files)
    if not OID.fullmatch(commit) or said.get("private") or said.get("gated"):
        raise NotFetched(f"{name} is private or gated there, or has no commit")
    if len(files) > MAX_FILES or not any(file.path.endswith((".safetensors", ".gguf")) for file in files):
        raise NotFetched(f"{name} has no safetensors and no GGUF there, or more than {MAX_FILES} files")
    if model.size > settings.MIRROR_BYTES:
        raise NotFetched(f"{name} has {model.size:,} bytes there, and HUB_MIRROR_MB allows {settings.MIRROR_BYTES:,}")
    return model


def fetch(model: Model, *, until: float) -> Manifest:
    """Store all files and where they came from. NotFetched for the first that is not what was described."""
    disk.require_room(model.size)
    manifest: Manifest = {}
    for file in model.files:
        address = f"{settings.MIRROR}/{quote(model.id)}/resolve/{model.commit}/{quote(file.path)}"
        with get(address, until=until) as body:
            came = _Proven(body, file)
            manifest[file.path] = Entry(*blobs.put(came, accept=came.prove))
    manifest[PROVENANCE] = Entry(*blobs.put(io.BytesIO(_provenance(model, manifest))))
    return manifest


class _Proven:
    """A file on its way, counted and hashed as git does."""

    def __init__(self, body: Body, file: Offered) -> None:
        self.body, self.file, self.came = body, file, 0
        self.git = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)

    def read(self, size: int) -> bytes:
        """The next bytes; NotFetched where there are more than were described."""
        data = self.body.read(size)
        self.came += len(data)
        if self.came > self.file.size:
            raise NotFetched(f"{self.file.path} is longer than it was described")
        self.git.update(data)
        return data

    def prove(self, sha256: str, size: int) -> None:
        """NotFetched for other bytes than were described."""
        file = self.file
        right = sha256 == file.sha256 if file.sha256 else self.git.hexdigest() == file.git_oid
        if size != file.size or not right:
            raise NotFetched(f"{file.path} has other bytes than were described")


def _offered(row: Any) -> Offered | None:
    """None for a file that is not taken. NotFetched for one that is not described."""
    path = row.get("rfilename") if isinstance(row, dict) else None
    if not isinstance(path, str):
        raise NotFetched("the endpoint names a file that has no path")
    if any(fnmatch(part.lower(), pattern) for part in path.split("/") for pattern in NOT_TAKEN) or path == PROVENANCE:
        return None
    lfs, size, git_oid = row.get("lfs"), row.get("size"), str(row.get("blobId") or "")
    sha256 = str(lfs.get("sha256") or "") if isinstance(lfs, Mapping) else ""
    if not isinstance(size, int) or size < 0 or not (DIGEST.fullmatch(sha256) or OID.fullmatch(git_oid)):
        raise NotFetched(f"the endpoint says neither size nor digest of {path}")
    return Offered(path, size, sha256, git_oid)


def _json(body: Body) -> dict[str, Any]:
    data = b""
    while piece := body.read(1 << 16):
        data += piece
        if len(data) > MAX_ANSWER:
            raise NotFetched("the endpoint's answer is too long")
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise NotFetched("the endpoint does not answer as a hub")
    return said


def _provenance(model: Model, manifest: Manifest) -> bytes:
    said = {
        "source": settings.MIRROR,
        "id": model.id,
        "commit": model.commit,
        "license": model.licence or None,
        "sha256": {path: entry.sha256 for path, entry in manifest.items()},
        "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return json.dumps(said, indent=2, ensure_ascii=False).encode() + b"\n"
