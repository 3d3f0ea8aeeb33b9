"""Bringing over what was planned: fetched into a folder of the cache, proven, noted, pushed. A cut one is taken up."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubctl.config import cache_folder
from hubctl.errors import HubctlError, Refused
from hubctl.importing import provenance
from hubctl.importing.plan import COMES, Row
from hubctl.importing.source import Found, Source

if TYPE_CHECKING:
    from hubctl.client import Hub

CONFIG = "config.json"


def bring(hub: "Hub", source: Source, row: Row, *, private: bool = False) -> dict[str, Any]:
    """Do what the row says; what comes of it is its `state`: imported, here, taken or refused. It raises nothing that
    concerns this repository alone."""
    if row.state not in COMES or row.found is None:
        return row.shown()
    try:
        folder = source.fetch(row.found, _place(source, row.found))
        provenance.write(source, row.found, folder)
        message = f"Imported from {source.endpoint} {row.found.id}@{row.found.commit}"
        done = hub.push(folder, row.target, kind="adapter", private=private or row.found.private, message=message)
    except HubctlError as error:
        if error.exit_code in STOPS:
            raise
        return {**row.shown(), "state": "refused", "note": error.message, "code": error.code}
    shutil.rmtree(folder, ignore_errors=True)
    return {**row.shown(), "state": "imported", "note": "", "version": done["version"], "revision": done["revision"]}


@dataclass(frozen=True, slots=True)
class Brought:
    """A base that comes from elsewhere."""

    source: Source
    found: Found

    def config(self) -> Path:
        """Its config.json, in a file."""
        if CONFIG not in self.found.files:
            raise Refused(
                f"{self.found.id} has no config.json at {self.source.endpoint}, so it is no base of transformers. An "
                f"adapter comes by hubctl import {self.found.id}; a GGUF by hubctl base push FILE.gguf NAME."
            )
        return self.source.fetch(self.found, _place(self.source, self.found, "config"), [CONFIG]) / CONFIG

    def folder(self) -> Path:
        """All of its files that a hub takes, in a folder, with where they came from."""
        folder = self.source.fetch(self.found, _place(self.source, self.found))
        provenance.write(self.source, self.found, folder)
        return folder


def _place(source: Source, found: Found, what: str = "files") -> Path:
    """The folder for one commit: the next run finds there what came before a cut."""
    name = hashlib.sha256(f"{source.endpoint}\0{found.id}\0{found.commit}\0{what}".encode()).hexdigest()[:32]
    folder = cache_folder() / "imports" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


STOPS = (3, 4, 6)
"""Exit codes of what concerns the whole import: no right to write, not signed in, a hub that can't be reached."""
