"""Versions in folders, each whole or not there.

    root/demo/dates/v3-1f0c9a77b2e4/         the files
    root/demo/dates/v3-1f0c9a77b2e4.json     what they are: revision, version, form, and each file's size and SHA-256
    root/demo/dates/v3-1f0c9a77b2e4.part/    on the way; taken up again

A folder's name has a digest of its list of files, so a folder never changes: another content is another folder. It gets
its name when every file has arrived with the SHA-256 that the hub said.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubctl.config import read_json
from hubctl.download import Moved, digest, fetch_all, local_path
from hubctl.errors import Refused
from hubctl.requests import part_query

if TYPE_CHECKING:
    from hubctl.client import Hub

LABEL = re.compile(r"v[1-9][0-9]{0,8}|[0-9a-f]{10}")
PART, GONE, LIST = ".part", ".gone", ".json"


def place(
    hub: "Hub",
    root: Path,
    name: str,
    manifest: dict[str, Any],
    *,
    form: str | None = None,
    uniform: bool | None = None,
    moved: Moved = lambda what, done, total: None,
) -> Path:
    """The folder below `root` with the files of `ns/name` that `manifest` (of `hub.files`) lists; fetched if missing.

    `form` and `uniform` are what the manifest was asked for with. A folder that is there is read and believed if every
    byte is right; else another is made beside it. Errors: those of `hubctl.download.pull`.
    """
    home = root / name
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / ".lock"):
        target = home / key_of(manifest)
        while target.is_dir():
            if not broken_files(target):
                return target
            stem, _, count = target.name.partition("~")
            target = home / f"{stem}~{int(count or 1) + 1}"
        part = _beside(target, PART)
        fetch_all(hub, name, manifest, part, part_query(None, form, uniform), moved)
        about = {key: manifest.get(key) for key in ("revision", "version", "files")}
        write_whole(_beside(target, LIST), {"repository": name, **about, "form": form, "uniform": uniform})
        os.replace(part, target)
        return target


def key_of(manifest: dict[str, Any]) -> str:
    """The folder's name: the version, or the revision's beginning, and a digest of the list of files.

    Refused where the hub's words for these are none, as they become part of a path.
    """
    rows = sorted((row["path"], row["sha256"]) for row in manifest["files"])
    label = manifest.get("version") or manifest["revision"][:10]
    if not LABEL.fullmatch(label):
        raise Refused(f"the hub calls a version {label!r}, which is neither vN nor a revision; nothing was fetched.")
    return f"{label}-{hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:12]}"


def about(folder: Path) -> dict[str, Any]:
    """What was noted of a folder: repository, revision, version, files, form, uniform; {} where nothing was."""
    return read_json(_beside(folder, LIST))


def broken_files(folder: Path) -> list[str]:
    """The paths whose bytes are not those that were fetched; every file is read."""
    wrong = []
    for row in about(folder).get("files") or [{"path": "", "size": -1, "sha256": ""}]:
        path = local_path(folder, row["path"]) if row["path"] else folder
        if not path.is_file() or path.stat().st_size != row["size"] or digest(path).hexdigest() != row["sha256"]:
            wrong.append(row["path"])
    return wrong


def versions(root: Path, name: str) -> list[Path]:
    """The whole folders kept of `ns/name`."""
    lists = sorted((root / name).glob(f"*{LIST}"))
    return [folder for path in lists if (folder := path.with_name(path.name.removesuffix(LIST))).is_dir()]


def remove(folder: Path) -> None:
    """Take a folder away: out of sight at once, then file by file."""
    gone = _beside(folder, GONE)
    shutil.rmtree(gone, ignore_errors=True)
    if folder.is_dir():
        os.replace(folder, gone)
    _beside(folder, LIST).unlink(missing_ok=True)
    shutil.rmtree(gone, ignore_errors=True)


def sweep(root: Path, name: str, keep: set[Path]) -> None:
    """Remove what is kept of `ns/name` but `keep`, what a kill left of a removal, and parts that nobody fetches."""
    home = root / name
    for entry in sorted(home.iterdir()) if home.is_dir() else ():
        if entry.name.endswith((PART, GONE)):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.is_dir() and entry not in keep:
            remove(entry)
    if not any(entry.is_dir() for entry in home.glob("*")):
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; a dead holder's lock is free. Refused where the system has no such locks."""
    try:
        import fcntl
    except ImportError:
        raise Refused("this needs a POSIX system, for its locks and symbolic links; use `hubctl pull` here.") from None
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_whole(path: Path, data: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}{PART}")
    part.write_text(json.dumps(data, indent=1), "utf-8")
    os.replace(part, path)


def _beside(folder: Path, ending: str) -> Path:
    return folder.with_name(folder.name + ending)
