"""Revisions: each one's id recomputed from its manifest, message and parent; parents and versions of its own house."""

from collections import defaultdict
from collections.abc import Iterator

from composition.errors import CompositionError
from composition.formats.content import check_paths
from hub.models import ManifestEntry, Revision
from hub.services.content.manifest import Entry, Manifest, other_oid, revision_oid
from hub.services.upkeep import batches
from hub.services.upkeep.checks.finding import Finding, Look

# A revision has at most 2,000 files.
REVISIONS_A_QUERY = 100
RESTORE = "Revisions never change, so nothing here can mend it; restore a backup."


def check(look: Look) -> Iterator[Finding]:
    """Every revision, whoever points at it."""
    related = ("repository__namespace", "parent", "version")
    for some in batches.rows(Revision.objects.select_related(*related), REVISIONS_A_QUERY):
        look.tick("revisions", len(some))
        manifests = _manifests(some)
        for revision in some:
            for code, message in _faults(revision, manifests[revision.pk]):
                # One that was purged meanwhile has no fault.
                if Revision.objects.filter(pk=revision.pk, repository__purged_at=None).exists():
                    look.broken.add(revision.repository_id)
                    where = f"{revision.repository.path}@{revision.oid}"
                    yield Finding(code=code, where=where, message=f"{message}. {RESTORE}")


def recomputed(revision: Revision, manifest: Manifest) -> list[str]:
    """The ids that this manifest, message and parent may give: the plain one, and the one where that was taken."""
    made_of = {
        "repository": revision.repository.oid_number,
        "parent": revision.parent and revision.parent.oid,
        "manifest": manifest,
        "message": revision.message,
    }
    plain = [revision_oid(**made_of)]
    return plain + ([other_oid(**made_of, version=revision.version.number)] if revision.version else [])


def _manifests(revisions: list[Revision]) -> dict[int, Manifest]:
    found: dict[int, Manifest] = defaultdict(dict)
    entries = ManifestEntry.objects.filter(revision__in=[revision.pk for revision in revisions])
    for pk, path, sha256, size in entries.values_list("revision_id", "path", "blob_id", "blob__size"):
        found[pk][path] = Entry(sha256, size)
    return found


def _faults(revision: Revision, manifest: Manifest) -> Iterator[tuple[str, str]]:
    if not manifest:
        yield "revision.empty", "its manifest has no files"
    else:
        try:
            check_paths(list(manifest))
        except CompositionError as error:
            yield "revision.path", f"a path that no push could bring: {error}"
    if revision.oid not in (oids := recomputed(revision, manifest)):
        yield "revision.oid", f"its files, message and parent give the id {oids[0]}"
    if revision.parent and revision.parent.repository_id != revision.repository_id:
        yield "revision.parent", f"its parent {revision.parent.oid} is of another repository"
    if revision.parent_id and revision.parent_id >= revision.pk:
        yield "revision.order", f"its parent {revision.parent.oid} was made after it"
    if revision.version and revision.version.repository_id != revision.repository_id:
        yield "revision.version", f"its version {revision.version_id} is of another repository"
