"""Refs: names that move. Every creation, move and deletion of one goes through here.

It happens under the repository's lock, obeys the rules of `hub.services.protections`, and is kept as history. With
`may_protected` the asker has the role admin and a token that allows it; whoever doesn't say so moves no protected ref.
"""

from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from hub.errors import Conflict, NotFound, PermissionDenied
from hub.models import ManifestEntry, Ref, RefKind, RefMove, Repository, Revision, User
from hub.names import check_ref
from hub.services import protections, quotas
from hub.services.audit import record
from hub.services.content.manifest import Entry

MAIN = "main"
FOLDERS = {RefKind.BRANCH: "heads", RefKind.TAG: "tags"}


def lock(repository: Repository) -> Repository:
    """The row for this transaction alone (SQLite: BEGIN IMMEDIATE locks all). NotFound if it is gone, Conflict if it
    is in the trash."""
    rows = Repository.objects.select_for_update(of=("self",)).select_related("namespace")
    found = rows.filter(pk=repository.pk).first()
    if found is None:
        raise NotFound(f"{repository.path} was deleted in the meantime.", code="repository.gone")
    if found.deleted_at:
        raise Conflict(f"{found.path} is in the trash; restore it first.", code="repository.deleted")
    return found


def move(
    *,
    actor: User | None,
    repository: Repository,
    moves: Sequence[tuple[str, str]],
    revision: Revision,
    may_protected: bool = False,
) -> list[Ref]:
    """Point the refs of `moves`, (kind, name) each, at `revision`; the repository is locked by the caller.

    Raises Protected, and then has moved none; QuotaExceeded where a branch or a tag takes what was only proposed, and
    then the transaction is to end.
    """
    names = [name for _, name in moves]
    protections.require(repository.namespace, repository, names, may_protected=may_protected)
    rows = Ref.objects.filter(repository=repository, name__in=names).select_related("revision__version")
    before = {(ref.kind, ref.name): ref.revision for ref in rows}
    placed = []
    for kind, name in moves:
        ref, _ = Ref.objects.update_or_create(
            repository=repository,
            kind=kind,
            name=name,
            defaults={"revision": revision, "updated_at": timezone.now()},
        )
        placed.append(ref)
        if before.get((kind, name)) != revision:
            _remember(actor, ref, before.get((kind, name)), revision)
    if not all(ref.is_pull for ref in placed):
        _take(repository, revision)
    return placed


@transaction.atomic
def set_tag(*, actor: User, repository: Repository, name: str, revision: Revision, may_protected: bool = False) -> Ref:
    """Point the tag `name` at `revision`, wherever it pointed before. Raises Protected."""
    check_ref(name)
    repository = lock(repository)
    if Ref.objects.filter(repository=repository, name=name, kind=RefKind.BRANCH).exists():
        raise Conflict(f"{name!r} is a branch of {repository.path}; a tag needs another name.", field="name")
    moves = [(RefKind.TAG, name)]
    tag = move(actor=actor, repository=repository, moves=moves, revision=revision, may_protected=may_protected)[0]
    record(actor, "tag.set", repository, tag=name, revision=revision.oid)
    return tag


@transaction.atomic
def create_tag(
    *,
    actor: User,
    repository: Repository,
    name: str,
    revision: Revision,
    message: str = "",
    may_protected: bool = False,
) -> Ref:
    """A new tag at `revision`; `message` is kept in the audit log. Conflict where the name is one already."""
    check_ref(name)
    repository = lock(repository)
    _require_new(repository, RefKind.TAG, name)
    if Ref.objects.filter(repository=repository, name=name, kind=RefKind.BRANCH).exists():
        raise Conflict(f"{name!r} is a branch of {repository.path}; a tag needs another name.", field="name")
    moves = [(RefKind.TAG, name)]
    tag = move(actor=actor, repository=repository, moves=moves, revision=revision, may_protected=may_protected)[0]
    said = {"message": message[:500]} if message else {}
    record(actor, "tag.set", repository, tag=name, revision=revision.oid, **said)
    return tag


@transaction.atomic
def create_branch(
    *, actor: User, repository: Repository, name: str, revision: Revision, may_protected: bool = False
) -> Ref:
    """A new branch that begins at `revision`. A tag may have its name. Conflict where the branch is there already."""
    check_ref(name)
    repository = lock(repository)
    _require_new(repository, RefKind.BRANCH, name)
    moves = [(RefKind.BRANCH, name)]
    made = move(actor=actor, repository=repository, moves=moves, revision=revision, may_protected=may_protected)[0]
    record(actor, "branch.create", repository, branch=name, revision=revision.oid)
    return made


@transaction.atomic
def delete_branch(*, actor: User, repository: Repository, name: str, may_protected: bool = False) -> None:
    """Remove a branch; its revisions stay. `main` is never removed. Raises Protected."""
    if name == MAIN:
        raise PermissionDenied(
            f"Cannot delete refs/heads/main: it is what {repository.path} shows. Push other files to it instead.",
            code="ref.main",
        )
    _delete(actor, repository, RefKind.BRANCH, name, may_protected, "Invalid rev id: ")


def _require_new(repository: Repository, kind: str, name: str) -> None:
    if Ref.objects.filter(repository=repository, kind=kind, name=name).exists():
        raise Conflict(f"Reference refs/{FOLDERS[kind]}/{name} already exists in {repository.path}.", code="ref.exists")


@transaction.atomic
def delete_tag(*, actor: User, repository: Repository, name: str, may_protected: bool = False) -> None:
    """Remove a tag; the revision stays. `latest` is the hub's own. Raises Protected."""
    check_ref(name)
    _delete(actor, repository, RefKind.TAG, name, may_protected)


def _delete(
    actor: User, repository: Repository, kind: RefKind, name: str, may_protected: bool, before: str = ""
) -> None:
    """Remove a branch or a tag; `before` begins the sentence where it is not there."""
    repository = lock(repository)
    rows = Ref.objects.filter(repository=repository, name=name, kind=kind)
    ref = rows.select_related("revision__version").first()
    if ref is None:
        raise NotFound(f"{before}{repository.path} has no {kind.value} {name!r}.", code="revision_not_found")
    protections.require(repository.namespace, repository, [name], may_protected=may_protected)
    _remember(actor, ref, ref.revision, None)
    ref.delete()
    record(actor, f"{kind.value}.delete", repository, **{kind.value: name})


def _take(repository: Repository, revision: Revision) -> None:
    """What a branch or a tag leads to is proposed no longer, with all it goes on from: the namespace has its bytes."""
    parents = dict(Revision.objects.filter(repository=repository, pull__isnull=False).values_list("pk", "parent"))
    taken, pk = [], revision.pk
    while pk in parents:
        taken.append(pk)
        pk = parents.pop(pk)
    if taken:
        entries = ManifestEntry.objects.filter(revision__in=taken).values_list("blob", "blob__size").distinct()
        quotas.charge(repository.namespace, {Entry(*entry) for entry in entries})
        Revision.objects.filter(pk__in=taken).update(pull=None)
        revision.pull = None


def _remember(actor: User | None, ref: Ref, before: Revision | None, after: Revision | None) -> None:
    RefMove.objects.create(
        repository_id=ref.repository_id,
        name=ref.name,
        kind=ref.kind,
        before=before.oid if before else "",
        before_version=before and before.version and before.version.number,
        after=after.oid if after else "",
        after_version=after and after.version and after.version.number,
        actor=actor,
    )
