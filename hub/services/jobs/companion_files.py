"""Files of a job that come as text in its request, or from the companions beside its input adapter.

Seeds are the newest that the actor may see unless one is named; so is the discriminator, which is a whole folder.
"""

from collections.abc import Sequence
from dataclasses import replace

from composition.formats import FORMATS
from composition.formats.dataset.files import ROWS
from composition.formats.dataset.seed_rows import read_seeds, seed_facts
from hub import access
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import Companion, Repository
from hub.models.companions import DISCRIMINATOR, SEEDS
from hub.services.content.manifest import Entry
from hub.services.jobs.draft import Draft
from hub.services.jobs.files import Given, sent

PEFT_FILES = set(FORMATS["peft"].files)


def find(draft: Draft, roles: Sequence[str]) -> list[Given]:
    """The files of these roles. Raises Invalid for names, CompositionError `seeds.*` for rows."""
    found: list[Given] = []
    for role in roles:
        value, adapters = draft.request.files.get(role), draft.request.adapters
        if isinstance(value, str):
            found.append(sent_rows(role, value))
        elif role in (SEEDS, DISCRIMINATOR) and adapters:
            found += _kept(draft.viewer, adapters[0].repository, role, _companion_name(role, value))
        elif value is not None:
            raise Invalid(f"files.{role}: send its text.", field="files")
    return found


def sent_rows(role: str, text: str) -> Given:
    """Rows of prompts, and of completions where they have them, as they came with the request."""
    if role == DISCRIMINATOR:
        raise Invalid('Name a kept discriminator: {"companion": "v1"}.', field="files")
    data = text.encode()
    return sent(role, f"{role}.jsonl", data, seed_facts(read_seeds(data, what=role)))


def seeds_of_each(draft: Draft) -> list[Given]:
    """The newest seeds beside each adapter that the actor may see, as `1.jsonl`, `2.jsonl`, … by the adapter's place;
    an adapter without any has no file."""
    found: list[Given] = []
    for place, version in enumerate(draft.request.adapters, 1):
        kept = _kept(draft.viewer, version.repository, SEEDS, None)
        found += [replace(file, name=f"{place}{ROWS}") for file in kept]
    return found


def _companion_name(role: str, value: object) -> str | None:
    if value is None:
        return None
    name = value.get("companion") if isinstance(value, dict) and set(value) == {"companion"} else None
    if not isinstance(name, str) or not name:
        raise Invalid(f'files.{role}: send text, or {{"companion": "name"}} for one that is kept.', field="files")
    return name


def _kept(viewer: Viewer, repository: Repository, role: str, name: str | None) -> list[Given]:
    """The named companion, or the newest; [] where none is kept and none was named."""
    every = access.companions(viewer, repository).filter(kind=role)
    if name is not None:
        every = access.named(every, name)
        if not every:
            raise access.missing(f"{role}/{name}", "companion")
    newest = max(every, key=lambda row: (row.created_at, row.pk), default=None)
    if newest is None:
        return []
    chosen = [row for row in every if _folder(row) == _folder(newest)] if role == DISCRIMINATOR else [newest]
    if role == DISCRIMINATOR and {row.name.rpartition("/")[2] for row in chosen} != PEFT_FILES:
        raise Invalid(f"The discriminator {_folder(newest)} is incomplete; train it again.", field="files")
    return [_of(row, role) for row in chosen]


def _of(row: Companion, role: str) -> Given:
    name = row.name.rpartition("/")[2]
    return Given(role=role, name=name, entry=Entry(row.blob_id, row.blob.size), facts=row.facts, companion=row.pk)


def _folder(row: Companion) -> str:
    return row.name.rpartition("/")[0]
