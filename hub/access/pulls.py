"""Proposals: who may open one, who may change it, who may take it.

Whoever is signed in and may have the files proposes. The author and the writers of the repository change a proposal;
writers merge it. All of it needs a token of the scope write, and none that is limited to another place.
"""

from hub.access.gates import require_open
from hub.access.viewer import LEVEL, Viewer, level, limited_to, require_role, require_scope
from hub.errors import NotFound, PermissionDenied
from hub.models import PullRequest, Repository, User


def require_proposer(viewer: Viewer, repository: Repository) -> User:
    """The signed-in user, who sees the repository, if they may propose changes to it."""
    user = require_scope(viewer, "write")
    if viewer.limit is not None and not viewer.limit.covers(repository):
        raise PermissionDenied(
            f"This token is limited to {limited_to(viewer)}; it proposes nothing outside it. ({repository.path})",
            code="token_limit",
        )
    require_open(viewer, repository)
    return user


def may_change(viewer: Viewer, pull: PullRequest) -> bool:
    """Whether the viewer may push to it, retitle, close and reopen it."""
    if viewer.user is None or not viewer.has_scope("write"):
        return False
    if level(viewer, pull.repository) >= LEVEL["write"]:
        return True
    inside = viewer.limit is None or viewer.limit.covers(pull.repository)
    return inside and pull.author_id == viewer.user.pk


def pull(viewer: Viewer, repository: Repository, number: int, need: str = "read") -> PullRequest:
    """The proposal of a repository that the viewer sees; `need` is "read", "change" or "merge".

    Errors: NotFound `revision_not_found`, NotSignedIn, PermissionDenied.
    """
    rows = PullRequest.objects.select_related("author", "closed_by", "started_from", "merged_as")
    found = rows.filter(repository=repository, number=number).first() if number < 1 << 31 else None
    if found is None:
        raise NotFound(f"{repository.path} has no proposal {number}.", code="revision_not_found")
    found.repository = repository
    if need == "merge":
        require_role(viewer, repository, "write", repository.path)
    elif need == "change":
        require_proposer(viewer, repository)
        if not may_change(viewer, found):
            raise PermissionDenied(
                f"Proposal {number} is changed by its author and by writers of {repository.namespace.name}; "
                "open one of your own."
            )
    return found
