"""The LFS files of a repository's branches: listed, taken out of all of them, and lent to another repository.

What is taken out is in no branch any more. Revisions and versions that are there keep it: they never change.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from hub.models import Blob, Ref, RefKind, Repository, User
from hub.services import arrivals, protections
from hub.services.content import pointers, publishing, reuse
from hub.services.content.manifest import Entry, Manifest, manifest_of
from hub.services.content.publishing import MAIN


@dataclass(frozen=True, slots=True)
class LfsFile:
    """An LFS file at the head of a branch; `pushed_at` is when its bytes were first stored."""

    path: str
    entry: Entry
    branch: str
    pushed_at: datetime


def listed(repository: Repository) -> list[LfsFile]:
    """Each path and digest once, `main` first, then the branches by name."""
    found: dict[tuple[str, str], tuple[str, str, Entry]] = {}
    for branch, manifest in _heads(repository).items():
        for file in pointers.git_files(manifest).values():
            if file.is_lfs:
                found.setdefault((file.path, file.sha256), (file.path, branch, Entry(file.sha256, file.size)))
    came = dict(Blob.objects.filter(pk__in={sha256 for _, sha256 in found}).values_list("pk", "created_at"))
    return [LfsFile(path, entry, branch, came[entry.sha256]) for path, branch, entry in found.values()]


def take_out(
    *, actor: User, repository: Repository, digests: Collection[str], may_protected: bool = False
) -> list[str]:
    """A new revision without these files on every branch that has some; the branches. Raises Protected before any."""
    wanted = set(digests)
    hits = {
        branch: [path for path, entry in manifest.items() if entry.sha256 in wanted]
        for branch, manifest in _heads(repository).items()
    }
    branches = [branch for branch, paths in hits.items() if paths]
    protections.require(repository.namespace, repository, branches, may_protected=may_protected)
    for branch in branches:
        publishing.publish(
            actor=actor,
            repository=repository,
            files={},
            deletions=hits[branch],
            message=f"Delete {len(hits[branch])} LFS file(s)",
            branch=branch,
            since=publishing.head_of(repository, branch),
            partial=True,
            may_protected=may_protected,
        )
    return branches


@transaction.atomic
def lend(*, actor: User, source: Repository, target: Repository, digests: Collection[str]) -> dict[str, str]:
    """Let a commit of this user to `target` name these bytes of `source`, which they may download.

    Digest → why not, of those that no revision of `source` holds. Raises QuotaExceeded.
    """
    rows = [Entry(row.sha256, row.size) for row in Blob.objects.filter(pk__in=set(digests))]
    held = reuse.held(source, rows)
    for entry in sorted(held):
        arrivals.note(actor=actor, repository=target, entry=entry)
    missing = set(digests) - {entry.sha256 for entry in held}
    return dict.fromkeys(sorted(missing), f"{source.path} has no file of these bytes.")


def _heads(repository: Repository) -> dict[str, Manifest]:
    refs = Ref.objects.filter(repository=repository, kind=RefKind.BRANCH).select_related("revision")
    return {ref.name: manifest_of(ref.revision) for ref in sorted(refs, key=lambda ref: (ref.name != MAIN, ref.name))}
