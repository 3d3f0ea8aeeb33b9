"""Pulling: each file into a `.part` beside its place, taken up again by Range, checked by SHA-256, then renamed.

A file that is there already with the right digest is left alone, so that a second pull moves nothing.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hubctl.errors import Away, Refused
from hubctl.transport import Waiting

if TYPE_CHECKING:
    from hubctl.client import Hub

BLOCK = 1 << 20
Moved = Callable[[str, int, int], None]


def pull(
    hub: "Hub",
    name: str,
    out: str | Path,
    *,
    expert: str | None = None,
    form: str | None = None,
    uniform: bool | None = None,
    moved: Moved = lambda what, done, total: None,
) -> dict[str, Any]:
    """Fetch `ns/name[@ref]` into the folder `out`; returns {"revision", "version", "files", "folder"}.

    Of a mixture `expert` names one of its experts, and `form="cat"` asks for all of them as one plain LoRA. `uniform`
    asks for the form that every server reads right, False for as=cat as compact as can be.
    """
    from hubctl.requests import part_query

    manifest = hub.files(name, expert=expert, form=form, uniform=uniform)
    query = part_query(expert, form, uniform)
    fetch_all(hub, name, manifest, Path(out), query, moved)
    return {**manifest, "folder": str(Path(out))}


def fetch_all(hub: "Hub", name: str, manifest: dict[str, Any], folder: Path, query: str, moved: Moved) -> None:
    """Bring every file of a manifest of `hub.files` into `folder`; `query` is the one that it was asked for with."""
    from hubctl.requests import split

    path, _ = split(name)
    for row in manifest["files"]:
        # The revision's id, not the ref: a tag that moves meanwhile doesn't mix two versions.
        address = f"/repositories/{path}/files/{manifest['revision']}/{quote(row['path'])}{query}"
        fetch(hub, address, local_path(folder, row["path"]), row, moved)


def local_path(folder: Path, path: str) -> Path:
    """Where `path` of a repository lies below `folder`; refuses one that would lead out of it."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or (os.name == "nt" and ":" in path):
        raise Refused(f"the hub names a file {path!r}, which would not stay in {folder}; nothing was written for it.")
    return folder.joinpath(*parts)


def fetch(hub: "Hub", address: str, target: Path, row: dict[str, Any], moved: Moved) -> None:
    """Bring one file to `target`: resume its `.part`, check size and digest, rename."""
    if target.is_file() and target.stat().st_size == row["size"] and digest(target).hexdigest() == row["sha256"]:
        moved(row["path"], row["size"], row["size"])
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{row['sha256'][:8]}.part")
    for attempt in range(2):
        _download(hub, address, part, row, moved)
        if digest(part).hexdigest() == row["sha256"]:
            os.replace(part, target)
            return
        part.unlink()
        if attempt:
            raise Refused(f"{row['path']} arrived broken twice: its SHA-256 is not {row['sha256']}. It was not kept.")


def digest(path: Path) -> Any:
    """The file's running SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")


def _download(hub: "Hub", address: str, part: Path, row: dict[str, Any], moved: Moved) -> None:
    """Append to `part` until it holds `size` bytes; a cut connection is taken up again, a hub or store that is away
    is waited for."""
    import httpx

    waiting = Waiting(hub.transport)
    while True:
        have = part.stat().st_size if part.exists() else 0
        if have > row["size"]:
            part.unlink()
            have = 0
        moved(row["path"], have, row["size"])
        if have == row["size"]:
            part.touch()
            return
        try:
            _append(hub, address, part, have, row, moved)
        except (httpx.TransportError, Away) as error:
            if part.exists() and part.stat().st_size > have:
                waiting.went_on()
            waiting.again(error)


def _append(hub: "Hub", address: str, part: Path, have: int, row: dict[str, Any], moved: Moved) -> None:
    headers = {"Accept": "*/*", "Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with hub.transport.stream(address, headers=headers) as response:
        if have and response.status_code != 206:
            have = 0
        with part.open("ab" if have else "wb") as file:
            for block in response.iter_raw(BLOCK):
                file.write(block)
                have += len(block)
                if have > row["size"]:
                    raise Refused(f"{row['path']} is longer than the hub said ({row['size']} bytes); it was not kept.")
                moved(row["path"], have, row["size"])
