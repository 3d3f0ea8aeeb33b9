"""Who is asking, and the questions about them that every look-up shares: signed in, scope, limit, role, administrator.

A token narrows what its user may do by scopes: `download` to fetch files of private repositories and nothing else,
`read` to see private things, `write` to push and start jobs, `admin` to change roles, visibility and to delete. It may
also be limited to a namespace or a repository: outside it, it sees what a stranger sees, and changes nothing.
"""

from dataclasses import dataclass

from django.http import HttpRequest

from hub.access.limits import Limit, limit_of, limit_of_job
from hub.errors import NotFound, NotSignedIn, PermissionDenied
from hub.models import Job, Membership, Namespace, Repository, Role, Token, User, Visibility

LEVEL = {
    "download": Role.READER.level,
    "files": Role.READER.level,
    "read": Role.READER.level,
    "write": Role.WRITER.level,
    "admin": Role.ADMIN.level,
}
IMPLIED = {
    "download": {"download", "read", "write", "admin"},
    "files": {"download", "read", "write", "admin"},
    "read": {"read", "write", "admin"},
    "write": {"write", "admin"},
    "admin": {"admin"},
}
SEEING = ("download", "read", "files")
"""What anyone may do with what is public; "files", having the bytes, where its gate lets them in too."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is asking: a user or None, the token's scopes and its limit.

    `scopes` None is a browser session: it has every scope. `limit` None is all that the user may see and do.
    """

    user: User | None = None
    scopes: frozenset[str] | None = None
    limit: Limit | None = None

    def has_scope(self, scope: str) -> bool:
        """True where the session or token allows acts of this scope; a wider scope includes the narrower."""
        return self.scopes is None or bool(self.scopes & IMPLIED[scope])

    @property
    def is_site_admin(self) -> bool:
        """True for an administrator of the site, where the session or token allows `admin` and has no limit."""
        return self.user is not None and self.user.is_staff and self.has_scope("admin") and self.limit is None


ANONYMOUS = Viewer()


def viewer_of(request: HttpRequest) -> Viewer:
    """The viewer behind a page's or an API view's request."""
    user = request.user if request.user and request.user.is_authenticated else None
    token = getattr(request, "auth", None)
    if not isinstance(token, Token):
        return Viewer(user=user)
    return viewer_of_token(token, user)


def viewer_of_token(token: Token, user: User | None = None) -> Viewer:
    """Who acts by a token: its user, within its scopes and its limit."""
    return Viewer(user=user or token.user, scopes=frozenset(token.scopes), limit=limit_of(token))


def viewer_of_job(job: Job) -> Viewer:
    """The viewer for whom a job acts: who asked for it, within the limit of the token they asked by."""
    return Viewer(user=job.created_by, limit=limit_of_job(job))


def acting(actor: User | Viewer) -> Viewer:
    """Who acts: a user stands for themselves, with all that they may do; a viewer stays within scopes and limit."""
    return actor if isinstance(actor, Viewer) else Viewer(user=actor)


def require_user(viewer: Viewer) -> User:
    """The signed-in user, or NotSignedIn."""
    if viewer.user is None:
        raise NotSignedIn("Sign in first, or send a token: Authorization: Bearer ah_…")
    return viewer.user


def require_scope(viewer: Viewer, scope: str) -> User:
    """The signed-in user if the token allows `scope`."""
    user = require_user(viewer)
    if not viewer.has_scope(scope):
        given = ", ".join(sorted(viewer.scopes or ())) or "none"
        raise PermissionDenied(
            f"This token has the scopes {given}; this needs {scope}. Make a token with that scope.", code="token_scope"
        )
    return user


def limited_to(viewer: Viewer) -> str:
    """What the viewer's token is limited to, in words; no name of a repository that its user can't see any more."""
    found = Repository.objects.filter(pk=viewer.limit.repository, purged_at=None).select_related("namespace").first()
    if viewer.limit.repository is None:
        return viewer.limit.name
    if found is None or (found.visibility != Visibility.PUBLIC and level(Viewer(user=viewer.user), found) < 0):
        return "a repository that you can't see any more"
    return found.path


def require_no_limit(viewer: Viewer) -> None:
    """PermissionDenied for a token that is limited to a place, where more than that place is concerned."""
    if viewer.limit is not None:
        raise PermissionDenied(
            f"This token is limited to {limited_to(viewer)}; this is about more than that. "
            "Use a token without a limit.",
            code="token_limit",
        )


def require_site_admin(viewer: Viewer) -> User:
    """The signed-in user if they are an administrator of the site and the token allows `admin` and has no limit."""
    user = require_scope(viewer, "admin")
    if not user.is_staff:
        raise PermissionDenied("This is for administrators of this hub; ask one of them.", code="site_admin")
    require_no_limit(viewer)
    return user


def require_role(viewer: Viewer, place: Namespace | Repository, need: str, what: str) -> None:
    """PermissionDenied unless the viewer's role at the place, and their token, allow `need` (write, admin)."""
    require_scope(viewer, need)
    if viewer.limit is not None and not viewer.limit.covers(place):
        raise PermissionDenied(
            f"This token is limited to {limited_to(viewer)}; it changes nothing outside it. ({what})",
            code="token_limit",
        )
    if level(viewer, place) < LEVEL[need]:
        role = {"write": "writer", "admin": "admin"}[need]
        raise PermissionDenied(f"This needs the role {role} in {_namespace(place).name}; ask an admin there. ({what})")


def missing(name: str, what: str) -> NotFound:
    """The error for what does not exist and for what the viewer may not see: the same sentence."""
    return NotFound(f"There is no {what} {name!r} that you can see. Check the name, or sign in if it is private.")


def level(viewer: Viewer, place: Namespace | Repository) -> int:
    """The viewer's role at the place as a number, comparable with `LEVEL`; -1 without one, and outside their limit."""
    if viewer.user is None or (viewer.limit is not None and not viewer.limit.covers(place)):
        return -1
    namespace = place.namespace_id if isinstance(place, Repository) else place.pk
    role = Membership.objects.filter(namespace=namespace, user=viewer.user).values_list("role", flat=True).first()
    return Role(role).level if role in Role.values else -1


def _namespace(place: Namespace | Repository) -> Namespace:
    return place.namespace if isinstance(place, Repository) else place
