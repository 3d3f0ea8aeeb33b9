"""What an import would bring, looked up before anything is fetched: one row a repository."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hubctl.errors import HubctlError, NotFound
from hubctl.importing import provenance
from hubctl.importing.source import Found, Source

if TYPE_CHECKING:
    from hubctl.client import Hub

NEW, UPDATE, HERE, TAKEN, REFUSED = "new", "update", "here", "taken", "refused"
COMES = (NEW, UPDATE)


@dataclass(frozen=True, slots=True)
class Row:
    """One repository: what it is, where it goes, its `state` and in `note` why or what to do."""

    id: str
    target: str
    state: str
    note: str = ""
    found: Found | None = None

    def shown(self) -> dict[str, Any]:
        """The row for programs."""
        facts = asdict(self.found) if self.found else {}
        kept = {key: facts.get(key) for key in ("commit", "size", "licence", "base", "private")}
        return {"id": self.id, "target": self.target, **kept, "state": self.state, "note": self.note}


def plan(hub: "Hub", source: Source, ids: Iterable[str], *, namespace: str, revision: str | None = None) -> list[Row]:
    """A row for each id, at `revision` or the newest commit; the target is the same name in `namespace`."""
    bases: dict[str, bool] = {}
    return [_row(hub, source, name, f"{namespace}/{name.rpartition('/')[2]}", revision, bases) for name in ids]


def plan_one(hub: "Hub", source: Source, name: str, target: str, revision: str | None = None) -> Row:
    """The row of one repository that goes to `target`."""
    return _row(hub, source, name, target, revision, {})


def _row(hub: "Hub", source: Source, name: str, target: str, revision: str | None, bases: dict[str, bool]) -> Row:
    try:
        found = source.model(name, revision)
    except HubctlError as error:
        return Row(name, target, REFUSED, error.message)
    if not found.is_adapter:
        return Row(name, target, REFUSED, "it holds no adapter_config.json, so it is no adapter", found)
    there = provenance.read(hub, target)
    if there is None:
        return Row(name, target, NEW, _advice(hub, source, found, bases), found)
    if not there.get("id"):
        return Row(name, target, TAKEN, "a repository of this name is there and was not imported; use --as", found)
    if (there["id"], there.get("source")) != (found.id, source.endpoint):
        return Row(name, target, TAKEN, f"it came from {there.get('source')} {there['id']}; use --as", found)
    if found.private and hub.repository(target).get("visibility") != "private":
        return Row(name, target, TAKEN, "it is private or gated there, and public here: make it private first", found)
    if there.get("commit") == found.commit:
        return Row(name, target, HERE, "", found)
    return Row(name, target, UPDATE, _advice(hub, source, found, bases), found)


def _advice(hub: "Hub", source: Source, found: Found, bases: dict[str, bool]) -> str:
    """What is to be done first where the base isn't registered; "" else."""
    if not found.base:
        return ""
    if found.base not in bases:
        try:
            hub.base(found.base)
            bases[found.base] = True
        except NotFound:
            bases[found.base] = False
    if bases[found.base]:
        return ""
    return f"register its base first: hubctl base add --from {found.base} --wait"
