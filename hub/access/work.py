"""What is under way: jobs and uploads, and the viewer's own tokens and ways in."""

from django.db.models import Exists, OuterRef, Q

from hub.access.limits import limit_of_job
from hub.access.repositories import may
from hub.access.viewer import LEVEL, Viewer, limited_to, missing, require_scope, require_user
from hub.errors import PermissionDenied
from hub.models import Identity, Job, Membership, Role, Token, Upload


def watchable(viewer: Viewer) -> Q:
    """The filter for jobs this viewer may watch: their own and those of their namespaces, within their limit."""
    member = Membership.objects.filter(namespace=OuterRef("output_namespace"), user=viewer.user)
    theirs = Q(created_by=viewer.user) | Exists(member)
    return theirs & viewer.limit.jobs() if viewer.limit else theirs


def job(viewer: Viewer, pk: int, need: str = "read") -> Job:
    """A job of one's own or of a namespace one belongs to; its creator and that namespace's writers may act on it.

    A limited token watches jobs whose result goes to its place, and acts on those that were asked for within its limit.
    """
    if viewer.user is None or not viewer.has_scope("read"):
        raise missing(str(pk), "job")
    found = (
        Job.objects.select_related(
            "output_namespace",
            "output__namespace",
            "base",
            "created_by",
            "result__repository__namespace",
            "evaluation",
        )
        .filter(watchable(viewer), pk=pk)
        .first()
    )
    if found is None:
        raise missing(str(pk), "job")
    if need != "read":
        require_scope(viewer, need)
        if viewer.limit and not viewer.limit.holds(limit_of_job(found)):
            raise PermissionDenied(
                f"This token is limited to {limited_to(viewer)}; job {pk} was not asked for within that limit. Use a "
                "token without a limit.",
                code="token_limit",
            )
        if found.created_by_id != viewer.user.pk and _role(viewer, found) < LEVEL[need]:
            owner = found.created_by.username if found.created_by else "a deleted account"
            raise PermissionDenied(f"Job {pk} belongs to {owner}; you may only watch it.")
    return found


def _role(viewer: Viewer, job: Job) -> int:
    """The viewer's role in the namespace of the job's output; -1 without one."""
    rows = Membership.objects.filter(namespace=job.output_namespace, user=viewer.user)
    role = rows.values_list("role", flat=True).first()
    return Role(role).level if role in Role.values else -1


def upload(viewer: Viewer, pk: str) -> Upload:
    """An upload under way, for the user who began it."""
    user = require_scope(viewer, "write")
    rows = Upload.objects.select_related("repository__namespace", "namespace", "base")
    found = rows.filter(pk=pk, user=user).first()
    deleted = found and found.repository and found.repository.deleted_at
    if found is None or deleted or not may(viewer, found.place, "write"):
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
