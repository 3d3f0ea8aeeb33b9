"""Versions: content digest and facts read again from the bytes, as an upload of the same files would read them."""

import json
from collections.abc import Iterator
from functools import partial
from itertools import chain

from composition.errors import CompositionError
from hub.errors import HubError
from hub.models import Parentage, Revision, Version
from hub.services.content.checking import check_files
from hub.services.content.manifest import canonical_json, manifest_of
from hub.services.upkeep import batches
from hub.services.upkeep.checks.finding import Finding, Look
from hub.services.upkeep.checks.history import recomputed


def check(look: Look) -> Iterator[Finding]:
    """Every version but those of tombstones; a quick look asks for its revision alone."""
    living = Version.objects.filter(repository__purged_at=None).select_related("repository__namespace", "base")
    for version in chain.from_iterable(batches.rows(living)):
        look.tick("versions")
        found = list(_faults(version, look))
        if found and Version.objects.filter(pk=version.pk, repository__purged_at=None).exists():
            yield from found
    for parentage in chain.from_iterable(batches.rows(Parentage.objects.select_related("child", "parent"))):
        look.tick("parents")
        if parentage.parent_id >= parentage.child_id:
            message = f"its parent {parentage.parent} was made after it; restore a backup"
            yield Finding(code="lineage.order", where=str(parentage.child), message=message)


def _faults(version: Version, look: Look) -> Iterator[Finding]:
    first = (
        Revision.objects.filter(version=version, repository=version.repository)
        .select_related("repository", "parent")
        .order_by("pk")
        .first()
    )
    if first is None:
        message = "no revision has its files; restore a backup"
        yield Finding(code="version.no_revision", where=str(version), message=message)
        return
    manifest = manifest_of(first)
    if look.quick or first.oid not in recomputed(first, manifest):
        return  # What the manifest says is not what was pushed: `history` says so.
    if look.bad & {entry.sha256 for entry in manifest.values()}:
        return  # `stored` says so.
    try:
        checked = check_files(version.repository.kind, manifest, base=version.base)
    except (CompositionError, HubError, OSError) as error:
        message = f"an upload of its files would be refused: {error}"
        yield Finding(code="version.invalid", where=str(version), message=message)
        return
    facts = json.loads(canonical_json(checked.facts))
    wrong = {}
    if checked.digest != version.content_digest:
        wrong["content_digest"] = checked.digest
    if facts != version.facts:
        wrong["facts"] = facts
    if len(wrong) == 2:
        message = "its digest and its facts are those of other files; restore a backup"
        yield Finding(code="version.files", where=str(version), message=message)
        return
    for name, value in wrong.items():
        yield Finding(
            code=f"version.{name}",
            where=str(version),
            message=f"its {name.replace('_', ' ')} is not what its files give",
            repair="read it from the files again",
            mend=partial(Version.objects.filter(pk=version.pk).update, **{name: value}),
        )
