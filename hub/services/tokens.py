"""Tokens for programs: shown once, kept hashed, scoped, expiring, limited to a place where that was asked for."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from hub import access, faults
from hub.access import Viewer
from hub.access.limits import limit_of
from hub.errors import Invalid, PermissionDenied
from hub.models import Namespace, Repository, Token, User
from hub.names import split_path, split_place
from hub.services import quotas
from hub.services.audit import record
from hub.services.noting import note_address
from hub.services.signing_in.identities import is_paused
from hub.services.signing_in.sessions import require_unended

PREFIX = "ah_"
MAX_DAYS = 365
# `last_used_at` is for people; a minute's grain spares a write a request.
SEEN_GRAIN = timedelta(minutes=1)


@transaction.atomic
def create_token(
    *,
    actor: User | Viewer,
    name: str,
    scopes: Sequence[str] = ("read", "write"),
    expires_in_days: int = 90,
    namespace: str | None = None,
    repository: str | None = None,
) -> tuple[Token, str]:
    """A new token and its secret, which is not stored and can't be shown again.

    It is limited to `namespace`, or to `repository` (a path), where one is given. NotFound for a namespace that the
    actor does not belong to and for a repository that they can't see; PermissionDenied for a token that would be wider
    than the actor's own.
    """
    viewer = access.acting(actor)
    unknown = sorted(set(scopes) - set(Token.Scope.values))
    if unknown or not scopes:
        raise Invalid(
            f"Scopes given: {', '.join(scopes) or 'none'}; choose from {', '.join(Token.Scope.values)}.", field="scopes"
        )
    if not 1 <= expires_in_days <= MAX_DAYS:
        raise Invalid(f"expires_in_days is {expires_in_days}; choose 1 to {MAX_DAYS}.", field="expires_in_days")
    if not name.strip():
        raise Invalid("A token needs a name, so that you can recognise it when you revoke it.", field="name")
    require_unended(viewer.user)
    quotas.require("tokens", viewer.user)
    secret = PREFIX + secrets.token_urlsafe(30)
    token = Token(
        user=viewer.user,
        name=name.strip()[:100],
        prefix=secret[:8],
        digest=_digest(secret),
        scopes=sorted(set(scopes)),
        expires_at=timezone.now() + timedelta(days=expires_in_days),
        **_place(viewer, namespace, repository),
    )
    _require_no_wider(viewer, token)
    token.save()
    limit = limit_of(token)
    record(viewer.user, "token.create", token.prefix, scopes=token.scopes, **({"limit": limit.name} if limit else {}))
    return token, secret


def _place(viewer: Viewer, namespace: str | None, repository: str | None) -> dict[str, Namespace | Repository]:
    """The row that the token is limited to, by its field; {} without a limit."""
    if namespace and repository:
        raise Invalid("A token is limited to a namespace or to a repository; give one of them.", field="repository")
    if namespace:
        found = access.namespace(viewer, namespace)
        if not found.memberships.filter(user=viewer.user).exists():
            raise access.missing(namespace, "namespace")
        return {"namespace": found}
    if repository:
        place, name = split_path(repository)
        if not (split_place(place)[0] and name):
            raise Invalid(
                f"{repository!r} is not a repository; write namespace/name, or datasets/namespace/name.",
                field="repository",
            )
        return {"repository": access.repository(viewer, place, name)}
    return {}


def _require_no_wider(viewer: Viewer, token: Token) -> None:
    """A token makes no token that may do or see more than itself."""
    wider = [scope for scope in token.scopes if not viewer.has_scope(scope)]
    if wider:
        raise PermissionDenied(
            f"This token has not the scope {', '.join(wider)}, so it can't make a token with it.", code="token_scope"
        )
    if viewer.limit and not viewer.limit.holds(limit_of(token)):
        raise PermissionDenied(
            f"This token is limited to {access.limited_to(viewer)}, so it makes only tokens that are limited to "
            "it, or to a repository in it. Give that limit.",
            code="token_limit",
        )


@transaction.atomic
def revoke_token(*, actor: User, token: Token) -> None:
    """End a token now; its row stays for the record."""
    Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
    record(actor, "token.revoke", token.prefix)


def token_user(secret: str) -> Token | None:
    """The living token of this secret with its user; None if it is unknown, revoked, expired, its user inactive or
    paused."""
    now = timezone.now()
    # Looked up by digest: a comparison of secrets never happens, so its timing can't tell anything.
    token = _living(digest=_digest(secret))
    if token is None:
        return None
    if token.last_used_at is None or now - token.last_used_at > SEEN_GRAIN:
        with faults.spared(f"token {token.prefix} was used"):
            Token.objects.filter(pk=token.pk).update(last_used_at=now)
    note_address(token)
    return token


def still_living(pk: int) -> Token | None:
    """The token with its user, for whoever was let in by it before; None as in `token_user`."""
    return _living(pk=pk)


def _living(**which: object) -> Token | None:
    related = ("user", "namespace", "repository__namespace")
    token = Token.objects.select_related(*related).filter(**which, revoked_at=None).first()
    if token is None or not token.user.is_active or (token.expires_at and token.expires_at <= timezone.now()):
        return None
    return None if is_paused(token.user) else token


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
