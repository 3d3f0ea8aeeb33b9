"""Where something came from, kept as a file beside it, `provenance.json`: a second import sees by it what is done."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubctl.errors import HubctlError, NotFound
from hubctl.importing.source import Found, Source, sha256

if TYPE_CHECKING:
    from hubctl.client import Hub

FILE = "provenance.json"
LARGEST = 1 << 20


def write(source: Source, found: Found, folder: Path) -> None:
    """Note endpoint, id, commit, licence and the digests of all files in the folder."""
    digests = {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != FILE and ".cache" not in path.relative_to(folder).parts
    }
    said = {
        "source": source.endpoint,
        "id": found.id,
        "commit": found.commit,
        "license": found.licence or None,
        "base_model": found.base or None,
        "sha256": digests,
    }
    (folder / FILE).write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", "utf-8")


def read(hub: "Hub", target: str) -> dict[str, Any] | None:
    """What the newest revision of `ns/name` says; {} where it is there and says nothing, None where it isn't there."""
    try:
        hub.repository(target)
    except NotFound:
        return None
    try:
        address = f"/repositories/{target}/files/main/{FILE}"
        with hub.transport.stream(address, headers={"Accept": "*/*"}) as response:
            data = b"".join(response.iter_bytes())
        found = json.loads(data[:LARGEST])
    except (HubctlError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
