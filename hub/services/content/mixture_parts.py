"""What a mixture can be asked for besides its files: one expert (`?expert=name`), or all as one LoRA (`?as=cat`).

An expert is the source version's own files where the viewer may see that version: a parent of the mixture with the
digest that the mixture's config records. Otherwise it is cut out of the stack, which the viewer sees anyway, and
nothing tells them that there is a source.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.core.cache import cache
from django.db.models import Prefetch

from composition.errors import CompositionError
from composition.formats import FORMATS
from composition.formats.mixture.parts import CAT_WARNING, Stack, cat_files, expert_files, read_stack
from composition.formats.sources import FileSource
from hub import queries
from hub.access import Viewer, visible
from hub.errors import Invalid, NotFound
from hub.http.file_responses import Content
from hub.models import ManifestEntry, Parentage, Repository, Revision, Version
from hub.services.content.manifest import BlobSource, Entry, manifest_of
from hub.storage import digest

SECONDS_DIGESTS_ARE_KEPT = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Part:
    """The files of a part by path; `source` is the version they belong to, None where they were cut out."""

    files: Mapping[str, Content]
    source: Version | None = None
    warning: str = ""

    def file(self, path: str) -> Content:
        """One of them, or NotFound."""
        if path not in self.files:
            there = ", ".join(self.files)
            raise NotFound(f"There is no file {path!r} in this part; it has {there}.", code="file_not_found")
        return self.files[path]

    def listing(self) -> list[dict]:
        """Path, size and SHA-256 of each file, by path."""
        return [{"path": path, "size": one.size, "sha256": one.sha256} for path, one in sorted(self.files.items())]


def part_of(viewer: Viewer, revision: Revision, *, expert: str | None = None, form: str | None = None) -> Part | None:
    """What `?expert=` or `?as=` (`form`) asks for of a mixture's revision; None where neither is given.

    Raises NotFound for a revision that is not a mixture or lacks the expert, Invalid for another form.
    """
    if expert is None and form is None:
        return None
    if expert is not None and form is not None:
        raise Invalid("Ask for one expert or for all as one LoRA, not for both.", field="as")
    if form not in (None, "cat"):
        raise Invalid(
            f"as={form!r} is not a form of a mixture; use as=cat, one plain LoRA that sums its experts.", field="as"
        )
    files, stack = _stack(revision)
    key = ":".join(entry.sha256 for entry in files)
    if form:
        return Part(_contents(f"{key}:cat", cat_files(stack)), warning=CAT_WARNING)
    try:
        number = stack.config.index(expert)
    except CompositionError as error:
        raise NotFound(error.message, code="expert_not_found", experts=stack.config.names) from error
    source = _sources(viewer, revision.version, stack).get(number)
    if source is not None:
        own = manifest_of(source.revision)
        return Part({path: Content.of_blob(*entry) for path, entry in own.items()}, source=source)
    return Part(_contents(f"{key}:{number}", expert_files(stack, expert)))


def file_of(
    viewer: Viewer, revision: Revision, path: str, *, expert: str | None = None, form: str | None = None
) -> tuple[Content, Repository]:
    """A file of a revision, or of the part of it that is asked for, and the repository it is of."""
    part = part_of(viewer, revision, expert=expert, form=form)
    if part:
        return part.file(path), part.source.repository if part.source else revision.repository
    blob = queries.file(revision, path)
    return Content.of_blob(blob.sha256, blob.size), revision.repository


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
    version = revision.version
    if version is None or not revision.repository.is_adapter or not version.is_mixture:
        raise NotFound("This is not a mixture, so it has no experts. Leave out expert and as.", code="no_mixture")
    manifest = manifest_of(revision)
    files = [manifest[name] for name in FORMATS["mixture"].files]
    return files, read_stack(*map(BlobSource, files))


def _sources(viewer: Viewer, version: Version, stack: Stack) -> dict[int, Version]:
    """Expert's number → the visible parent that holds its weights; the one in the expert's own place first."""
    recorded = [expert.get("sha256") for expert in stack.config.experts]
    weights = ManifestEntry.objects.filter(blob__in=[sha256 for sha256 in recorded if isinstance(sha256, str)])
    rows = (
        Parentage.objects.filter(visible(viewer, prefix="parent__repository__"), child=version)
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


def _contents(key: str, files: Mapping[str, FileSource]) -> dict[str, Content]:
    return {path: Content(_digest(f"part:{key}:{path}", file), file.size, file.open) for path, file in files.items()}


def _digest(key: str, file: FileSource) -> str:
    """SHA-256 of a cut, which is read once for it; equal keys are equal bytes."""
    found = cache.get(key)
    if found is None:
        with file.open() as stream:
            found, _ = digest(stream)
        cache.set(key, found, SECONDS_DIGESTS_ARE_KEPT)
    return found
