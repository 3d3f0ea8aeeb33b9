"""The experts of a mixture, each of which can be asked for as a plain LoRA of its own (`?expert=name`, see `forms`).

An expert is the source version's own files where the viewer may have those: a parent of the mixture with the
digest that the mixture's config records. Otherwise it is cut out of the stack, which the viewer sees anyway, and
nothing tells them that there is a source.
"""

from collections.abc import Mapping
from typing import NamedTuple

from django.db.models import Prefetch

from composition.errors import CompositionError
from composition.formats import FORMATS
from composition.formats.mixture.parts import Stack, expert_files, read_stack
from composition.formats.sources import FileSource
from hub.access import Viewer, open_to, visible
from hub.errors import NotFound
from hub.models import ManifestEntry, Parentage, Revision, Version
from hub.services.content.manifest import BlobSource, Entry, manifest_of

PARENTS = "parent__repository__"


class Cut(NamedTuple):
    """One expert: the version that it is, or its files cut out of the mixture; `key` tells equal bytes."""

    key: str
    source: Version | None = None
    files: Mapping[str, FileSource] = {}


def check_mixture(revision: Revision) -> None:
    """Refuse a revision that is no mixture's version. Raises NotFound."""
    version = revision.version
    if version is None or not revision.repository.is_adapter or not version.is_mixture:
        raise NotFound("This is not a mixture, so it has no experts. Leave out expert and as=cat.", code="no_mixture")


def expert_part(viewer: Viewer, revision: Revision, name: str) -> Cut:
    """One expert of a mixture's revision. Raises NotFound for what is no mixture, or lacks the expert."""
    files, stack = _stack(revision)
    try:
        number = stack.config.index(name)
    except CompositionError as error:
        raise NotFound(error.message, code="expert_not_found", experts=stack.config.names) from error
    key = ":".join([*(entry.sha256 for entry in files), str(number)])
    source = _sources(viewer, revision.version, stack).get(number)
    if source is not None:
        return Cut(f"{source.pk}:{key}", source)
    return Cut(key, files=expert_files(stack, name))


def experts(viewer: Viewer, revision: Revision) -> list[dict]:
    """[{"name", "rank", "licence", "source"}] of a mixture, in its order; `source` is a Version the viewer may see."""
    _, stack = _stack(revision)
    sources = _sources(viewer, revision.version, stack)
    modules, rows = stack.modules, []
    for number, expert in enumerate(stack.config.experts):
        ranks = {stack.config.ranks(module)[number] for module in modules} - {0}
        low, high = (min(ranks), max(ranks)) if ranks else (0, 0)
        rank = str(high) if low == high else f"{low}–{high}"
        licence = str(expert.get("license") or "")
        rows.append({"name": expert["name"], "rank": rank, "licence": licence, "source": sources.get(number)})
    return rows


def _stack(revision: Revision) -> tuple[list[Entry], Stack]:
    """(config, weights) of a mixture's revision, and the stack that they hold."""
    check_mixture(revision)
    manifest = manifest_of(revision)
    files = [manifest[name] for name in FORMATS["mixture"].files]
    return files, read_stack(*map(BlobSource, files))


def _sources(viewer: Viewer, version: Version, stack: Stack) -> dict[int, Version]:
    """Expert's number → the parent that holds its weights, of those whose files the viewer may have.

    The one in the expert's own place comes first.
    """
    recorded = [expert.get("sha256") for expert in stack.config.experts]
    weights = ManifestEntry.objects.filter(blob__in=[sha256 for sha256 in recorded if isinstance(sha256, str)])
    rows = (
        Parentage.objects.filter(visible(viewer, prefix=PARENTS), open_to(viewer, PARENTS), child=version)
        .select_related("parent__repository__namespace")
        .prefetch_related(Prefetch("parent__revisions__entries", weights, to_attr="weights"))
    )
    held: dict[str, list[tuple[int, Version]]] = {}
    for row in rows:
        for blob in {entry.blob_id for revision in row.parent.revisions.all() for entry in revision.weights}:
            held.setdefault(blob, []).append((row.position, row.parent))
    found = {}
    for number, sha256 in enumerate(recorded):
        same = held.get(sha256, []) if isinstance(sha256, str) else []
        if same:
            found[number] = min(same, key=lambda pair: (pair[0] != number, pair[0]))[1]
    return found
