"""Squashing a branch: its files as they are become one revision without a past.

Versions stay, with the revisions that made them: vN is what it was, and the branch alone has a new beginning.
"""

from django.db import transaction

from hub.models import RefKind, Repository, Revision, User
from hub.services.audit import record
from hub.services.content import publishing
from hub.services.content.manifest import manifest_of
from hub.services.refs import lock, move


@transaction.atomic
def squash(*, actor: User, repository: Repository, branch: str, message: str, may_protected: bool = False) -> Revision:
    """Point the branch at a revision of its files that has no parent; that revision. Raises Protected.

    A branch without a revision stays as it is; NotFound there.
    """
    repository = lock(repository)
    head = publishing.require_head(repository, branch)
    said = publishing.clean_message(message) or f"Squash {branch}"
    root = publishing.root_revision(repository, manifest_of(head), said, head.version, actor)
    moves = [(RefKind.BRANCH, branch)]
    move(actor=actor, repository=repository, moves=moves, revision=root, may_protected=may_protected)
    record(actor, "publish", repository, revision=root.oid, branch=branch, version=head.version and head.version.label)
    return root
