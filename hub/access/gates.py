"""Gates: of a public repository that is gated, the files are for members of its namespace and for who was let in.

What it is (card, facts, versions, names of files) stays for everyone. This is the one place that knows who may have
the bytes: every door that gives them asks here, by `repository(…, need="files")`, `require_open` or `open_to`.
"""

from django.db.models import Exists, OuterRef, Q

from hub.access.viewer import LEVEL, Viewer, level
from hub.errors import PermissionDenied
from hub.models import AccessRequest, AccessState, Gate, Membership, Repository


class Gated(PermissionDenied):
    """The viewer sees the repository, and may not have its files."""

    code = "gated"


def lets_in(viewer: Viewer, repository: Repository) -> bool:
    """Whether the viewer, who sees the repository, may have its files."""
    if repository.gate == Gate.OPEN or level(viewer, repository) >= LEVEL["files"]:
        return True
    if viewer.user is None or (viewer.limit is not None and not viewer.limit.covers(repository)):
        return False
    accepted = AccessRequest.objects.filter(repository=repository, user=viewer.user, state=AccessState.ACCEPTED)
    return viewer.has_scope("files") and accepted.exists()


def require_open(viewer: Viewer, repository: Repository) -> None:
    """Raise Gated where the viewer may not have the files of a repository that they see."""
    if lets_in(viewer, repository):
        return
    what = "dataset" if repository.is_dataset else "model"
    do = "Ask for access on its page" if viewer.user else "Sign in, then ask for access on its page"
    raise Gated(
        f"Access to {what} {repository.full_name} is restricted and you are not in the authorized list. {do}, or by "
        "POST …/access-requests; its page shows everything but the files.",
        repository=repository.full_name,
    )


def open_to(viewer: Viewer, prefix: str = "") -> Q:
    """The filter for repositories whose gate lets the viewer in; `prefix` leads to them. Use it beside `visible`."""
    is_open = Q(**{f"{prefix}gate": Gate.OPEN})
    if viewer.user is None or not viewer.has_scope("files"):
        return is_open
    accepted = AccessRequest.objects.filter(user=viewer.user, state=AccessState.ACCEPTED)
    member = Membership.objects.filter(namespace=OuterRef(f"{prefix}namespace"), user=viewer.user)
    inside = Exists(accepted.filter(repository=OuterRef(f"{prefix}pk"))) | Exists(member)
    return is_open | (Q(inside) & viewer.limit.covered(prefix) if viewer.limit else Q(inside))
