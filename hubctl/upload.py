"""Pushing: hash the files, begin an upload, send each in pieces, commit. A cut upload goes on where it stopped.

The hub keeps what it received and tells how far it is, so a lost connection costs the rest of the file only. The id of
an upload under way is remembered in the cache folder under a digest of what is pushed and where to: the same push after
a crash or Ctrl-C finds it again. Nothing is visible on the hub before the commit.
"""

import base64
import contextlib
import functools
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hubctl.config import cache_folder, read_json, write_private
from hubctl.errors import Away, HubctlError, NotFound, Refused
from hubctl.folders.pick import pick
from hubctl.folders.renaming import mended
from hubctl.folders.rules import kind_of
from hubctl.requests import DATASETS, plain
from hubctl.transport import Waiting, pause

if TYPE_CHECKING:
    from hubctl.client import Hub

# A piece is acknowledged when it is on the hub's disk; a cut one costs little, as the hub keeps what came of it.
# The next one is larger, unless something on the way takes no such bodies.
PIECE, LARGEST, GROWTH, BLOCK = 64 << 20, 256 << 20, 4, 1 << 20
BUSY_SECONDS = 900.0  # how long another request on the same upload is waited for, such as a commit of gigabytes
HEAD = 1024  # bytes at a file's start by which the hub tells what it is, before all of it is sent
MANY = 2000  # files; of more the hub takes none
Moved = Callable[[str, int, int], None]
Said = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to push: its path in the repository, where it lies, size in bytes, SHA-256."""

    path: str
    local: Path
    size: int
    sha256: str
    head: bytes = b""

    def entry(self) -> dict[str, Any]:
        """As the hub wants it."""
        head = {"head": base64.b64encode(self.head).decode()} if self.head else {}
        return {"path": self.path, "size": self.size, "sha256": self.sha256, **head}


def hashed(files: Mapping[str, Path], moved: Moved) -> list[LocalFile]:
    """Size and SHA-256 of each, read once."""
    result = []
    for path, local in sorted(files.items()):
        total, digest, done, head = local.stat().st_size, hashlib.sha256(), 0, b""
        with local.open("rb") as file:
            while piece := file.read(BLOCK):
                head = head or piece[: HEAD if len(files) <= MANY else 0]
                digest.update(piece)
                done += len(piece)
                moved(f"hash {path}", done, total)
        result.append(LocalFile(path, local, done, digest.hexdigest(), head))
    return result


def push(
    hub: "Hub",
    source: str | Path | Mapping[str, Path],
    name: str,
    *,
    kind: str | None = None,
    base: str | None = None,
    message: str = "",
    branch: str = "main",
    private: bool = False,
    deletions: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    everything: bool = False,
    rename: bool = False,
    moved: Moved = lambda what, done, total: None,
    said: Said = lambda line: None,
) -> dict[str, Any]:
    """Push files to `ns/name`, made if it is missing. Files of the newest revision that are not named stay.

    A refused push makes no repository. `kind` None: a dataset where `datasets/` stands before the name; else what the
    files are, or where they don't say, what is there. `include`, `exclude` and `everything` as in
    `hubctl.folders.pick.pick`. Returns what the hub answers, {"revision", "version", "created", …}, with "repository",
    its path there, and "left_out"; `created` is False where the hub held exactly this already. With `rename`, weights
    whose names the hub can mend are pushed as a mended copy, and "renamed" says what was changed.
    `moved(what, done, total)` is told of bytes hashed and sent, `said(line)` of what was left out.
    """
    path = plain(name)
    kind = kind or ("dataset" if path.startswith(DATASETS) else None)
    picked = pick(source, include=include, exclude=exclude, everything=everything)
    if picked.left_out:
        said(picked.said())
    make = {"kind": kind or kind_of(list(picked.files)), "visibility": "private" if private else "public"}
    wanted: dict[str, Any] = {"message": message, "branch": branch, "base": base, "deletions": list(deletions)}
    wanted["make"] = make
    left = {"left_out": list(picked.left_out)}
    try:
        return {**send_all(hub, f"/repositories/{path}", hashed(picked.files, moved), wanted, moved), **left}
    except Refused as refusal:
        steps = refusal.facts.get("rename") if rename else None
        if not steps:
            raise
        refused = refusal.facts.get("upload")
    with mended(picked.files, steps) as (files, renamed):
        said(renamed.said())
        result = send_all(hub, f"/repositories/{path}", hashed(files, moved), wanted, moved)
    with contextlib.suppress(HubctlError):
        hub.transport.json("DELETE", f"/uploads/{refused}")
    return {**result, **left, "renamed": renamed.to_dict()}


def send_all(
    hub: "Hub", to: str, files: Sequence[LocalFile], wanted: dict[str, Any], moved: Moved, *, end: str = "commit"
) -> dict[str, Any]:
    """Begin the upload at the address `to`, or take up the one that was cut; send what the hub lacks; `end` it."""
    wanted = {"files": [file.entry() for file in files], **wanted}
    note = cache_folder() / "uploads" / f"{_digest(hub.url, to, wanted)}.json"
    upload = _resumed(hub, note) or hub.transport.json("POST", f"{to}/uploads", json=wanted, repeat=True)
    write_private(note, {"id": upload["id"], "url": hub.url, "repository": to.rpartition("repositories/")[2]})
    try:
        received = {row["path"]: row["received"] for row in upload["files"]}
        for file in files:
            send(hub, upload["id"], file, received.get(file.path, 0), moved)
        result = _commit(hub, f"/uploads/{upload['id']}/{end}")
    except (Refused, NotFound) as error:
        # A new upload of mended files has the bytes that the hub has; only an unready base mends itself by waiting.
        if error.code != "base.not_ready":
            note.unlink(missing_ok=True)
        error.facts["upload"] = upload["id"]
        raise
    note.unlink(missing_ok=True)
    return {**result, "repository": upload["repository"]}


def _commit(hub: "Hub", address: str) -> dict[str, Any]:
    """Publish what was sent. Where the base's shapes are still being read, wait for that job and ask again."""
    try:
        # Its answer may be lost, and the first request still at work: the same commit gives the same answer.
        return _patiently(lambda: hub.transport.json("POST", address, json={}, repeat=True))
    except Refused as error:
        if error.code != "base.not_ready" or not error.facts.get("job"):
            raise
        hub.wait(error.facts["job"])
        return _patiently(lambda: hub.transport.json("POST", address, json={}, repeat=True))


def _patiently(ask: Callable[[], Any]) -> Any:
    """The answer, asked for again as long as another request works on the same upload."""
    deadline = time.monotonic() + BUSY_SECONDS
    for attempt in itertools.count():
        try:
            return ask()
        except Refused as error:
            if error.code != "upload.busy" or time.monotonic() > deadline:
                raise
            pause(min(attempt, 4))


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _resumed(hub: "Hub", note: Path) -> dict[str, Any] | None:
    upload_id = read_json(note).get("id")
    if not upload_id:
        return None
    try:
        return hub.transport.json("GET", f"/uploads/{upload_id}")
    except HubctlError as error:
        if error.exit_code == 6:
            raise
        return None


def send(hub: "Hub", upload_id: str, file: LocalFile, received: int, moved: Moved) -> None:
    """Send `file` from byte `received` on. A cut connection is taken up again where the hub stands, and
    a hub whose store is away is waited for."""
    import httpx

    waiting, most, largest = Waiting(hub.transport), PIECE, LARGEST
    moved(file.path, received, file.size)
    while received < file.size:
        piece = functools.partial(_send_piece, hub, upload_id, file, received, most, moved)
        try:
            before, received = received, _patiently(piece)
            waiting.went_on()
            largest = largest if received != before else PIECE
            most = min(GROWTH * most, largest)
        except (httpx.TransportError, Away) as error:
            most = largest = PIECE
            waiting.again(error)
            received = _where(hub, upload_id, file)
        moved(file.path, received, file.size)


def _send_piece(hub: "Hub", upload_id: str, file: LocalFile, offset: int, most: int, moved: Moved) -> int:
    """One PUT of at most `most` bytes; returns how much the hub holds then, `offset` where a proxy takes fewer."""
    length = min(most, file.size - offset)
    headers = {"Upload-Offset": str(offset), "Content-Length": str(length), "Content-Type": "application/octet-stream"}
    address = hub.transport.address(f"/uploads/{upload_id}/files/{quote(file.path)}")
    content = _piece(file, offset, length, moved)
    response = hub.transport.client.put(address, content=content, headers=headers)
    if response.status_code == 413 and length > PIECE:
        return offset
    if response.status_code == 409:
        body = response.json()
        if body.get("code") == "upload.committed":
            return file.size  # by another push of the same
        if isinstance(body.get("received"), int) and body["received"] != offset:
            return body["received"]
    return int(hub.transport.parsed(response)["received"])


def _piece(file: LocalFile, offset: int, length: int, moved: Moved) -> Iterator[bytes]:
    with file.local.open("rb") as stream:
        stream.seek(offset)
        left = length
        while left:
            block = stream.read(min(left, BLOCK))
            if not block:
                raise Refused(f"{file.local} became shorter while it was sent; push it again.")
            left -= len(block)
            yield block
            moved(file.path, offset + length - left, file.size)


def _where(hub: "Hub", upload_id: str, file: LocalFile) -> int:
    rows = hub.transport.json("GET", f"/uploads/{upload_id}")["files"]
    return next(row["received"] for row in rows if row["path"] == file.path)
