"""Squashing a branch: its files as they are become one revision without a past.

Versions stay, with the revisions that made them: vN is what it was, and the branch alone has a new beginning.
"""

from django.db import transaction

from hub.models import RefKind, Repository, Revision, User
from hub.services.audit import record
from hub.services.content import publishing
from hub.services.refs import lock, move
from hub.services.sharing import proposed


@transaction.atomic
def squash(*, actor: User, repository: Repository, branch: str, message: str, may_protected: bool = False) -> Revision:
    """Point the branch, or `refs/pr/N`, at a revision of its files that has no parent; that revision.

    Errors: Protected, NotFound `revision_not_found`, Conflict `pull.not_open`.
    """
    repository = lock(repository)
    pull = proposed.pull_of(repository, branch)
    head = publishing.require_head(repository, branch)
    said = publishing.clean_message(message) or f"Squash {branch}"
    root = publishing.root_revision(repository, head, said, actor, pull)
    moves = [(RefKind.PULL if pull else RefKind.BRANCH, branch)]
    allowed = may_protected or pull is not None  # Rules are for branches and tags.
    move(actor=actor, repository=repository, moves=moves, revision=root, may_protected=allowed)
    detail = {"revision": root.oid, "branch": branch, "version": root.version and root.version.label}
    record(actor, "publish", repository, **detail)
    return root
