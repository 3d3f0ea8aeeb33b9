"""Who is asking, and the questions about them that every look-up shares: signed in, scope, role, administrator.

A token narrows what its user may do: `read` to see private things, `write` to push and start jobs, `admin` to change
roles, visibility and to delete.
"""

from dataclasses import dataclass

from django.http import HttpRequest

from hub.errors import NotFound, NotSignedIn, PermissionDenied
from hub.models import Membership, Namespace, Role, Token, User

LEVEL = {"read": Role.READER.level, "write": Role.WRITER.level, "admin": Role.ADMIN.level}
IMPLIED = {"read": {"read", "write", "admin"}, "write": {"write", "admin"}, "admin": {"admin"}}


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who is asking: a user or None, and the token's scopes. `scopes` None is a browser session: it has every scope."""

    user: User | None = None
    scopes: frozenset[str] | None = None

    def has_scope(self, scope: str) -> bool:
        """True where the session or token allows acts of this scope; a wider scope includes the narrower."""
        return self.scopes is None or bool(self.scopes & IMPLIED[scope])

    @property
    def is_site_admin(self) -> bool:
        """True for an administrator of the site, where the session or token allows `admin`."""
        return self.user is not None and self.user.is_staff and self.has_scope("admin")


ANONYMOUS = Viewer()


def viewer_of(request: HttpRequest) -> Viewer:
    """The viewer behind a page's or an API view's request."""
    user = request.user if request.user and request.user.is_authenticated else None
    token = getattr(request, "auth", None)
    return Viewer(user=user, scopes=frozenset(token.scopes) if isinstance(token, Token) else None)


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


def require_site_admin(viewer: Viewer) -> User:
    """The signed-in user if they are an administrator of the site and the token allows `admin`."""
    user = require_scope(viewer, "admin")
    if not user.is_staff:
        raise PermissionDenied("This is for administrators of this hub; ask one of them.", code="site_admin")
    return user


def require_role(viewer: Viewer, namespace: Namespace, need: str, what: str) -> None:
    """PermissionDenied unless the viewer's role in the namespace, and their token, allow `need` (write, admin)."""
    require_scope(viewer, need)
    if level(viewer, namespace) < LEVEL[need]:
        role = {"write": "writer", "admin": "admin"}[need]
        raise PermissionDenied(f"This needs the role {role} in {namespace.name}; ask an admin there. ({what})")


def missing(name: str, what: str) -> NotFound:
    """The error for what does not exist and for what the viewer may not see: the same sentence."""
    return NotFound(f"There is no {what} {name!r} that you can see. Check the name, or sign in if it is private.")


def level(viewer: Viewer, namespace: Namespace) -> int:
    """The viewer's role in the namespace as a number, comparable with `LEVEL`; -1 without one."""
    if viewer.user is None:
        return -1
    role = Membership.objects.filter(namespace=namespace, user=viewer.user).values_list("role", flat=True).first()
    return Role(role).level if role else -1
