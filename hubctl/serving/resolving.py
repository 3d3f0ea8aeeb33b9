"""Which files a model server gets for `ns/name[@ref]`: fetched, checked, and only where they fit the base it serves.

The hub is asked each time a name is new to the server, so what was revoked or deleted is served no more. While the hub
can't be reached, what was served last under the name is served on.
"""

import logging
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubctl.config import read_json
from hubctl.errors import Forbidden, HubctlError, NotFound, Refused, Unreachable
from hubctl.requests import NAME, REF
from hubctl.serving import store

if TYPE_CHECKING:
    from hubctl.client import Hub

log = logging.getLogger("vllm.adapter_hub")

ASKED = re.compile(rf"(?P<repository>{NAME.pattern}/{NAME.pattern})(@(?P<ref>{REF.pattern}))?")
# How servers that know no revision name a version: ns/name.v2.
ALIAS = re.compile(r"(?P<repository>.+)\.(?P<ref>v[1-9][0-9]{0,8})", re.IGNORECASE)
SNAPSHOT = re.compile(r"models--([^/]+)--([^/]+)/snapshots/")
LAST = "served.json"


def parse(name: str) -> tuple[str, str] | None:
    """(`ns/name`, ref) of `ns/name`, `ns/name@ref` and `ns/name.v2`; None for what names nothing of a hub."""
    found = ASKED.fullmatch(name)
    if found is None:
        return None
    if found["ref"] is None and (alias := ALIAS.fullmatch(name)):
        return alias["repository"], alias["ref"].lower()
    return found["repository"], found["ref"] or "latest"


@dataclass
class Resolver:
    """Resolves names for one server.

    `allow` are the namespaces and repositories that may be asked for, with `*` for any characters; `base` says what the
    server serves, where its own name for it tells the hub nothing; `uniform` is True, False, or None for where the
    server needs it; `server` is the hub's word for it, as in `servers` of a version.
    """

    hub: "Hub"
    cache: Path
    allow: tuple[str, ...]
    server: str
    base: str | None = None
    uniform: bool | None = None
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def resolve(self, served: str, name: str) -> Path | None:
        """The folder of `name` for a server of the base `served`, or None, with the reason in the log."""
        asked = parse(name)
        if asked is None or not self.may_serve(asked[0]):
            return None
        repository, ref = asked
        try:
            return self._current(served, repository, ref)
        except (HubctlError, OSError) as error:
            if not is_away(error):
                log.warning("%s is not served: %s", name, error)
                return None
            folder = self._last(repository, ref)
            said = f"serving {folder.name}, as last time" if folder else "and nothing of it was served before"
            log.warning("%s: %s %s.", name, error, said)
            return folder

    def may_serve(self, repository: str) -> bool:
        """Whether this server may be asked for it."""
        namespace = repository.partition("/")[0]
        return any(fnmatchcase(repository if "/" in one else namespace, one) for one in self.allow)

    def _current(self, served: str, repository: str, ref: str) -> Path:
        name = f"{repository}@{ref}"
        try:
            version = self.hub.version(name)
        except Forbidden as error:
            if error.facts.get("status") != 403:
                raise
            version = {}  # a token that fetches files and reads nothing else
        if version:
            self._check_base(served, version.get("base"))
            name = f"{repository}@{version['revision']}"
        uniform = self._needs_uniform(version) if self.uniform is None else self.uniform
        manifest = self.hub.files(name, uniform=uniform or None)
        folder = store.place(self.hub, self.cache, repository, manifest, uniform=uniform or None)
        if not version:
            config = read_json(folder / "adapter_config.json")
            self._check_base(served, config.get("base_model_name_or_path"))
        self._remember(repository, ref, folder)
        return folder

    def _needs_uniform(self, version: dict[str, Any]) -> bool:
        """Whether this server reads the version right only in the uniform form; Refused where it reads none right."""
        if not version:
            return True  # right on every server; the hub refuses it for what is no plain LoRA
        if not (rows := version.get("servers")):
            raise Refused("it is no adapter that a server loads.")
        row = next((row for row in rows if row["server"] == self.server), None)
        if row is None or row["answer"] == "right":
            return False
        if row["uniform"]:
            return True
        raise Refused(f"not for {row['label']}: {row['why']}")

    def _check_base(self, served: str, wanted: str | None) -> None:
        """Refuse an adapter of another base than the one that is served, or a quantised copy of it."""
        if not wanted:
            raise Refused("the adapter names no base.")
        mine = self._base_of(self.base or served)
        theirs = self._base_named(wanted) or {"name": wanted}
        if mine is None:
            raise Refused(
                f"the hub knows no base of the name {self.base or served!r}, which this server serves. Set "
                f"HUBCTL_VLLM_BASE to the one it is, such as {wanted}, or add the name there: hubctl base alias."
            )
        if mine["name"].lower() == theirs["name"].lower():
            return
        for copy, original in ((mine, theirs), (theirs, mine)):
            if copy.get("relation") == "quantized" and copy.get("derived_from") == original["name"]:
                log.info("%s is a quantised copy of %s; the adapter is served on it.", copy["name"], original["name"])
                return
        raise Refused(f"the adapter is for {theirs['name']}, and this server serves {mine['name']}.")

    def _base_of(self, served: str) -> dict[str, Any] | None:
        """The base that is served: by its name or alias, or where it is a folder, by what the folder says it is."""
        folder = Path(served)
        names = [served]
        if found := SNAPSHOT.search(f"{folder.as_posix()}/"):
            names.append("/".join(found.groups()))
        if folder.is_dir():
            names += [read_json(folder / "config.json").get("_name_or_path") or "", "/".join(folder.parts[-2:])]
        return next((base for name in names if name and (base := self._base_named(name))), None)

    def _base_named(self, name: str) -> dict[str, Any] | None:
        """The hub's base of this name or alias; asked once. Bases are public, and a download token may not ask."""
        if name not in self.known:
            from hubctl.client import Hub

            try:
                with Hub(self.hub.url, patience=self.hub.transport.patience) as everyone:
                    self.known[name] = everyone.base(name)
            except NotFound:
                return None
        return self.known[name]

    def _remember(self, repository: str, ref: str, folder: Path) -> None:
        path = self.cache / repository / LAST
        store.write_whole(path, read_json(path) | {ref: folder.name})

    def _last(self, repository: str, ref: str) -> Path | None:
        """The folder that was served last under the ref, if it is whole."""
        noted = read_json(self.cache / repository / LAST).get(ref)
        folder = self.cache / repository / noted if noted else None
        return folder if folder and folder.is_dir() and not store.broken_files(folder) else None


def is_away(error: Exception) -> bool:
    """Whether the hub gave no answer of its own: it can't be reached, or it fails."""
    status = error.facts.get("status", 0) if isinstance(error, HubctlError) else 0
    return isinstance(error, Unreachable) or status == 429 or status >= 500


def listed(text: str) -> tuple[str, ...]:
    """The words of a comma-separated setting."""
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def choice(text: str) -> bool | None:
    """always → True, never → False, auto → None."""
    words = {"always": True, "never": False, "auto": None}
    if text not in words:
        raise Refused(f"HUBCTL_VLLM_UNIFORM={text!r} is none of auto, always, never.")
    return words[text]
