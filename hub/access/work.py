"""What is under way: jobs and uploads, and the viewer's own tokens and ways in."""

from hub.access.repositories import may
from hub.access.viewer import LEVEL, Viewer, level, missing, require_scope, require_user
from hub.errors import PermissionDenied
from hub.models import Identity, Job, Token, Upload


def job(viewer: Viewer, pk: int, need: str = "read") -> Job:
    """A job of one's own or of a namespace one belongs to; its creator and that namespace's writers may act on it."""
    found = (
        Job.objects.select_related(
            "output_namespace",
            "output__namespace",
            "base",
            "created_by",
            "result__repository__namespace",
            "evaluation",
        )
        .filter(pk=pk)
        .first()
    )
    if found is None or viewer.user is None or not viewer.has_scope("read"):
        raise missing(str(pk), "job")
    own = found.created_by_id == viewer.user.pk
    role = 3 if own else level(viewer, found.output_namespace) if found.output_namespace else -1
    if role < LEVEL["read"]:
        raise missing(str(pk), "job")
    if need != "read":
        require_scope(viewer, need)
        if role < LEVEL[need]:
            owner = found.created_by.username if found.created_by else "a deleted account"
            raise PermissionDenied(f"Job {pk} belongs to {owner}; you may only watch it.")
    return found


def upload(viewer: Viewer, pk: str) -> Upload:
    """An upload under way, for the user who began it."""
    user = require_scope(viewer, "write")
    found = Upload.objects.select_related("repository__namespace", "base").filter(pk=pk, user=user).first()
    if found is None or found.repository.deleted_at or not may(viewer, found.repository, "write"):
        raise missing(str(pk), "upload")
    return found


def identity(viewer: Viewer, pk: int) -> Identity:
    """One of the viewer's own ways in by a provider."""
    found = Identity.objects.filter(pk=pk, user=require_user(viewer)).first()
    if found is None:
        raise missing(str(pk), "connection")
    return found


def token(viewer: Viewer, pk: int) -> Token:
    """One of the viewer's own tokens."""
    found = Token.objects.filter(pk=pk, user=require_user(viewer)).first()
    if found is None:
        raise missing(str(pk), "token")
    return found
