"""A folder that holds the adapters a tag points at, for servers that read folders.

    DIR/demo/dates -> ../.hubctl/versions/demo/dates/v3-1f0c9a77b2e4      what a server is given: a link
    DIR/.hubctl/state.json                                                what was synced, so what may be removed
    DIR/.hubctl/versions/                                                 the files; see `hubctl.serving.store`

A version is fetched beside and checked; then the link is moved by one rename. So a reader finds the old adapter or the
new one, never half of one, and a kill at any moment leaves what was there. The state is written before a link moves,
and a link is believed only if it leads where the state says.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubctl.config import read_json
from hubctl.download import Moved
from hubctl.errors import Forbidden, HubctlError, NotFound, Refused, Unreachable
from hubctl.requests import part, plain, split
from hubctl.serving import store

if TYPE_CHECKING:
    from hubctl.client import Hub

OURS = ".hubctl"
# Errors of the hub itself; a proxy's bare 404 is no reason to remove an adapter.
GONE = ("not_found", "repository_not_found", "revision_not_found", "version_not_found")
MOST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which adapters: repositories by name, `ns/name[@ref]`, and all of a namespace, of a base, or of both.

    `tag` is the ref for those that name none; `form` and `uniform` are those of `Hub.pull`.
    """

    names: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    base: str | None = None
    tag: str = "latest"
    form: str | None = None
    uniform: bool | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One sub-folder: `link` below DIR, and what it follows; `named` if the user named it, not a list.

    `revision` is where the ref is, if a list told.
    """

    link: str
    repository: str
    ref: str
    named: bool
    revision: str | None = None


def sync(
    hub: "Hub",
    folder: str | Path,
    wanted: Wanted,
    *,
    keep: int = 1,
    check: bool = True,
    moved: Moved = lambda what, done, total: None,
) -> dict[str, Any]:
    """Make `folder` hold what is wanted, and return what was done.

    {"folder", "adapters": [{"name", "change", "version", "revision", "folder"}], "failed": [{"name", "code",
    "message"}], "left_out": [as failed]}. A change is added, updated, mended, removed, or "" for none. What failed
    stays as it was. What was left out is what no name asked for and can't be had: a mixture in the uniform form.

    `keep` is how many replaced versions of each adapter stay for readers that still have them open. `check` reads every
    file and fetches broken ones again. Raises where the hub can't be asked: then nothing was removed.
    """
    top = Path(folder).expanduser()
    try:
        (top / OURS).mkdir(parents=True, exist_ok=True)
        with store.locked(top / OURS / "lock"):
            return _Round(hub, top.resolve(), wanted, keep, moved).run(check)
    except OSError as error:
        raise Refused(f"{error.filename or top} can't be written: {error.strerror or error}.") from error


class _Round:
    """One pass over everything wanted, under the folder's lock."""

    def __init__(self, hub: "Hub", top: Path, wanted: Wanted, keep: int, moved: Moved) -> None:
        self.hub, self.top, self.wanted, self.keep, self.moved = hub, top, wanted, keep, moved
        self.root = top / OURS / "versions"
        self.state = read_json(top / OURS / "state.json")
        self.held: dict[str, dict[str, Any]] = self.state.get("adapters") or {}
        self.rows: list[dict[str, Any]] = []
        self.failed: list[dict[str, Any]] = []
        self.left_out: list[dict[str, Any]] = []

    def run(self, check: bool) -> dict[str, Any]:
        self._check_hub()
        places = {place.link: place for place in self._places()}
        present = set()
        for place in places.values():
            try:
                if self._follow(place, check):
                    present.add(place.link)
            except HubctlError as error:
                if isinstance(error, Unreachable) or error.facts.get("status") == 401:
                    raise
                present.add(place.link)  # what is there stays
                self._note(place, error)
        for link in [*self.held]:
            if link not in present:
                self._remove(link)
        return {"folder": str(self.top), "adapters": self.rows, "failed": self.failed, "left_out": self.left_out}

    def _check_hub(self) -> None:
        """Refuse where what is missing would be removed by mistake."""
        before = self.state.get("hub")
        if self.held and before != self.hub.url:
            raise Refused(
                f"{self.top} was synced from {before}, and this is {self.hub.url}. Give another folder, or delete "
                f"{self.top / OURS / 'state.json'} if it is the same hub."
            )
        signed_in = bool(self.hub.transport.token)
        if self.held and self.state.get("signed_in") and not signed_in:
            raise Forbidden(
                f"{self.top} was synced with a token and there is none now: private adapters would be removed. Set "
                "HUBCTL_TOKEN, or run `hubctl login`."
            )
        self.state |= {"hub": self.hub.url, "signed_in": signed_in}

    def _places(self) -> Iterator[Place]:
        """Everything wanted, in the order asked for; a name given twice counts once."""
        for name in self.wanted.names:
            repository, ref = split(name)
            link = f"{repository}@{ref.replace('/', '--')}" if ref else repository
            yield Place(link, repository, ref or self.wanted.tag, True)
        filters: dict[str, Any] = {"kind": "adapter", "limit": MOST, "sort": "name", "ref": self.wanted.tag}
        if self.wanted.base:
            filters["base"] = self.hub.base(self.wanted.base)["name"]
        owners = [part(namespace) for namespace in self.wanted.namespaces] or ([""] if self.wanted.base else [])
        for owner in owners:
            for row in self.hub.repositories(owner=owner, **filters):
                at = row.get("at") or {}
                yield Place(row["full_name"], plain(row["full_name"]), self.wanted.tag, False, at.get("revision"))

    def _follow(self, place: Place, check: bool) -> bool:
        """Bring one place up to date; False where the hub has no such thing any more."""
        if place.revision and self._is_held(place, place.revision, check):
            return True
        try:
            manifest = self.hub.files(f"{place.repository}@{place.revision or place.ref}")
        except NotFound as error:
            if error.code not in GONE:
                raise
            if place.named:
                self._note(place, error)
            return False
        if not place.revision and self._is_held(place, manifest["revision"], check):
            return True
        if not manifest["version"]:
            raise Refused(f"{place.repository}@{place.ref} is no version yet: it isn't whole.", code="sync.incomplete")
        self._check_free(place.link)
        form, uniform = self.wanted.form, self.wanted.uniform
        if form or uniform is not None:
            manifest = self.hub.files(f"{place.repository}@{manifest['revision']}", form=form, uniform=uniform)
        options = {"form": form, "uniform": uniform, "moved": self.moved}
        new = store.place(self.hub, self.root, place.repository, manifest, **options)
        held = self.held.get(place.link)
        same = held is not None and self._is_same(held, manifest["revision"])
        self._switch(place, manifest, new)
        self._tell(place.link, "mended" if same else "updated" if held else "added", self.held[place.link])
        return True

    def _is_held(self, place: Place, revision: str, check: bool) -> bool:
        """Whether the place holds this revision already, and whole; then nothing is to be done."""
        held = self.held.get(place.link)
        if not held or not self._is_same(held, revision):
            return False
        folder = self.top / OURS / held["folder"]
        if not folder.is_dir() or not self._leads_to(place.link, folder) or (check and store.broken_files(folder)):
            return False
        self._tell(place.link, "", held)
        return True

    def _is_same(self, held: dict[str, Any], revision: str) -> bool:
        asked = [revision, self.wanted.form, self.wanted.uniform]
        return [held.get(key) for key in ("revision", "form", "uniform")] == asked

    def _switch(self, place: Place, manifest: dict[str, Any], new: Path) -> None:
        """Note the version, lead the link to it, and drop what is older than the last `keep`."""
        held = self.held.get(place.link, {})
        path = str(new.relative_to(self.top / OURS))
        before = [one for one in [held.get("folder"), *held.get("before", [])] if one and one != path][: self.keep]
        noted = {key: manifest.get(key) for key in ("revision", "version")}
        noted |= {"repository": place.repository, "folder": path, "before": before}
        self.held[place.link] = noted | {"form": self.wanted.form, "uniform": self.wanted.uniform}
        self._save()
        link = self.top / place.link
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(f".{link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(new, link.parent), target_is_directory=True)
        os.replace(fresh, link)
        self._sweep(place.repository)

    def _remove(self, link: str) -> None:
        """Take away a place that nothing wants, and its files."""
        held = self.held[link]
        if self._is_ours(link):
            (self.top / link).unlink()
        del self.held[link]
        self._save()
        self._sweep(held["repository"])
        for parent in self._parents(link):
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        self._tell(link, "removed", held)

    def _sweep(self, repository: str) -> None:
        """Remove what no place of the repository holds or held lately."""
        rows = [row for row in self.held.values() if row["repository"] == repository]
        kept = {self.top / OURS / one for row in rows for one in (row["folder"], *row["before"])}
        store.sweep(self.root, repository, kept)

    def _note(self, place: Place, error: HubctlError) -> None:
        row = {"name": place.link, "code": error.code, "message": error.message}
        unfit = error.facts.get("status") in (400, 403, 409, 422)
        (self.left_out if unfit and not place.named else self.failed).append(row)

    def _check_free(self, link: str) -> None:
        """Refuse to write over what sync has not made, and through links that lead elsewhere."""
        in_the_way = [one for one in self._parents(link) if one.is_symlink() or (one.exists() and not one.is_dir())]
        path = next(iter(in_the_way), self.top / link)
        if in_the_way or (os.path.lexists(path) and not self._is_ours(link)):
            raise Refused(f"{path} is there and was not made by sync; move it away, or sync into another folder.")

    def _parents(self, link: str) -> list[Path]:
        """The folders between the top and a link, the innermost first."""
        return [one for one in (self.top / link).parents if one.is_relative_to(self.top) and one != self.top]

    def _is_ours(self, link: str) -> bool:
        path = self.top / link
        return path.is_symlink() and f"{OURS}/versions/" in os.readlink(path)

    def _leads_to(self, link: str, folder: Path) -> bool:
        return self._is_ours(link) and (self.top / link).resolve() == folder

    def _save(self) -> None:
        store.write_whole(self.top / OURS / "state.json", {**self.state, "adapters": self.held})

    def _tell(self, link: str, change: str, held: dict[str, Any]) -> None:
        known = {"version": held["version"], "revision": held["revision"]}
        self.rows.append({"name": link, "change": change, **known, "folder": str(self.top / link)})
