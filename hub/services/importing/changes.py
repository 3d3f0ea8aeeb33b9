"""An upload in another tool's format: published as PEFT's form of it, with the pushed files beside it in `original/`.

The made files depend on the originals and the base alone, so the same push makes the same revision wherever it is
sent. They are written next to what was received, a tensor at a time, and go with it.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from composition.formats import FORMATS
from composition.formats.content import check_paths
from composition.formats.foreign.plan import Base
from composition.formats.foreign.rows import imported_from
from composition.formats.gate import check_file
from composition.formats.peft.names import CONFIG_FILE, ORIGINAL, WEIGHTS_FILE
from composition.formats.sources import LocalFile
from composition.formats.table import Format
from hub import disk
from hub.models import BaseModel, Repository, Revision
from hub.services.content.change import Change
from hub.services.content.checking import CHECKS, LARGE, Checked
from hub.services.content.manifest import CARD, Entry, Source, manifest_of, sources_of
from hub.services.importing.card import card_of
from hub.services.known_bases import match_base, require_shapes, unknown_base
from hub.storage import digest


@dataclass(frozen=True, slots=True)
class Imported:
    """A change with both forms in it, where its files lie, its base, and what to say of it."""

    change: Change
    sources: dict[str, LocalFile]
    base: BaseModel
    warnings: tuple[str, ...]

    def told(self, checked: Checked) -> Checked:
        """What was checked, with the import's warnings before its own."""
        facts = checked.facts and {**checked.facts, "warnings": [*self.warnings, *checked.facts.get("warnings", [])]}
        return replace(checked, facts=facts)


def imported(
    repository: Repository,
    change: Change,
    received: Mapping[str, LocalFile],
    *,
    base: BaseModel | None,
    folder: Path,
) -> Imported | None:
    """The change with what its files mean for PEFT, made in `folder`; None where they are of a format that is stored.

    `received` are the files of the change that are not in the store yet. Raises CompositionError `import.*`, and
    Invalid where the base isn't known.
    """
    row = None
    if repository.is_adapter and change.files:
        files = {**sources_of(change.files), **received}
        row = FORMATS.recognise(repository.kind, files)
    if row is None or row.convert is None:
        return None
    check_paths(list(files))
    for path, source in files.items():
        check_file(path, source)
    base = base or _base(row, files)
    known = Base(name=base.name, shapes=require_shapes(base), config=base.config)
    with CHECKS.passed() if sum(entry.size for entry in change.files.values()) > LARGE else contextlib.nullcontext():
        plan = row.converter()(files, known)
        made = _write(plan, files, folder)
    entries = {path: _entry(source) for path, source in made.items()}
    replaced = {path for path in (CONFIG_FILE, WEIGHTS_FILE) if change.files.get(path, entries[path]) != entries[path]}
    moved = {path: (f"{ORIGINAL}{path}" if path in {*plan.originals, *replaced} else path) for path in files}
    kept = {moved[path]: entry for path, entry in change.files.items()} | entries
    sources = {moved[path]: source for path, source in received.items()} | made
    return Imported(replace(change, files=kept), sources, base, (imported_from(plan), *plan.warnings))


def without_stale_originals(change: Change, head: Revision | None) -> Change:
    """The change, which also takes out the originals of weights that it replaces."""
    before = manifest_of(head)
    if all(change.files.get(path, before.get(path)) == before.get(path) for path in (WEIGHTS_FILE, CONFIG_FILE)):
        return change
    stale = {path for path in before if path.startswith(ORIGINAL) and path not in change.files}
    return replace(change, deletions=change.deletions | stale)


def _base(row: Format, files: Mapping[str, Source]) -> BaseModel:
    said = row.base_of(files) if row.base_of else None
    base = match_base(*said) if said else None
    if base is None:
        raise unknown_base(said and said.name, f"This {row.label} adapter")
    return base


def _write(plan: Any, files: Mapping[str, Source], folder: Path) -> dict[str, LocalFile]:
    """The two files of PEFT and the card, in `folder` under names that no received file has."""
    disk.require_room(plan.size)
    folder.mkdir(parents=True, exist_ok=True)
    chunks = {CONFIG_FILE: [plan.config()], WEIGHTS_FILE: plan.weights(files), CARD: [card_of(plan, files.get(CARD))]}
    made = {}
    for name, content in chunks.items():
        path = folder / f"made-{name}"
        path.unlink(missing_ok=True)  # one of an earlier try may be in the store by a second link
        with path.open("wb") as out:
            out.writelines(content)
        made[name] = LocalFile(path)
    return made


def _entry(source: LocalFile) -> Entry:
    with source.open() as stream:
        return Entry(*digest(stream))
