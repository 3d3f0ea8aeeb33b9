"""People: their memberships, the namespaces they may write to, their tokens."""

from django.db.models import QuerySet

from hub import access
from hub.access import Viewer
from hub.models import (
    Event,
    Identity,
    Membership,
    Token,
    User,
)

HIDDEN = "(hidden)"


def memberships(viewer: Viewer) -> QuerySet[Membership]:
    """The viewer's namespaces with their role in each, by name; of a limited token the one of its limit."""
    found = access.require_user(viewer).memberships.select_related("namespace").order_by("namespace__name")
    if viewer.limit is None:
        return found
    if viewer.limit.namespace:
        return found.filter(namespace=viewer.limit.namespace)
    return found.filter(namespace__repositories=viewer.limit.repository)


def writable(viewer: Viewer) -> list[str]:
    """The namespaces the viewer may write to, by name."""
    if viewer.user is None:
        return []
    return [row.namespace.name for row in memberships(viewer) if row.role != "reader"]


def tokens(viewer: Viewer) -> QuerySet[Token]:
    """The viewer's own tokens that are not revoked, newest first."""
    return (
        access.require_user(viewer)
        .tokens.filter(revoked_at=None)
        .select_related("namespace", "repository__namespace")
        .order_by("-pk")
    )


def limit_shown(token: Token) -> str | None:
    """The repository that a token is limited to, as its user may read it; None where it has no such limit."""
    found = token.repository
    if found is None:
        return None
    return found.path if not found.purged_at and access.may(Viewer(user=token.user), found, "read") else HIDDEN


def sign_ins(viewer: Viewer) -> QuerySet[Event]:
    """The viewer's own sign-ins, and others' failed ones for their name, newest first."""
    user = access.require_user(viewer)
    # Not those of somebody who had this name before.
    mine = Event.objects.filter(object=user.username, created_at__gte=user.date_joined)
    return mine.filter(verb__startswith="sign_in.").order_by("-pk")


def identities(viewer: Viewer) -> QuerySet[Identity]:
    """The viewer's own ways in by a provider, the oldest first."""
    return access.require_user(viewer).identities.order_by("pk")


def user(username: str) -> User:
    """The active user of this name, or NotFound."""
    found = User.objects.filter(username__iexact=username, is_active=True).first()
    if found is None:
        raise access.missing(username, "user")
    return found
