"""A revision's files and folders as the client reads them; folders are derived from the paths."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from hub.hf.shapes.moments import moment
from hub.models import Revision
from hub.services.content.manifest import Manifest
from hub.services.content.pointers import GitFile


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder; `oid` changes with what is in it, and is no id of git's."""

    path: str
    oid: str


def folders(manifest: Manifest) -> dict[str, Folder]:
    """Path → folder, of all folders that have files below them."""
    computed: dict[str, hashlib._Hash] = {}
    for path, entry in manifest.items():
        above = path
        while "/" in above:
            above = above.rpartition("/")[0]
            digest = computed.setdefault(above, hashlib.sha256())
            digest.update(f"{path[len(above) + 1 :]}\0{entry.sha256}\n".encode())
    return {path: Folder(path, digest.hexdigest()[:40]) for path, digest in computed.items()}


def inside(paths: Mapping[str, object], folder: str, *, recursive: bool) -> list[str]:
    """The paths in a folder, "" for all; without `recursive` those right in it. Ordered."""
    start = f"{folder}/" if folder else ""
    found = [path for path in paths if path.startswith(start)]
    return sorted(path for path in found if recursive or "/" not in path[len(start) :])


def shown(item: GitFile | Folder, changed: Revision | None = None) -> dict:
    """One file or folder; `changed` is the revision that changed it last."""
    if isinstance(item, Folder):
        said: dict = {"type": "directory", "oid": item.oid, "size": 0, "path": item.path}
    else:
        said = {"type": "file", "oid": item.oid, "size": item.size, "path": item.path}
        if item.is_lfs:
            said["lfs"] = {"oid": item.sha256, "size": item.size, "pointerSize": item.pointer_size}
    if changed is not None:
        title = changed.message.partition("\n")[0]
        said["lastCommit"] = {"id": changed.oid, "title": title, "date": moment(changed.created_at)}
    return said
