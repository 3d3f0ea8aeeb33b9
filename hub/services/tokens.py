"""Tokens for programs: shown once, kept hashed, scoped, expiring."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from hub.errors import Invalid
from hub.models import Token, User
from hub.services.audit import record
from hub.services.noting import note_address
from hub.services.signing_in.identities import is_paused

PREFIX = "ah_"
MAX_DAYS = 365
# `last_used_at` is for people; a minute's grain spares a write a request.
SEEN_GRAIN = timedelta(minutes=1)


@transaction.atomic
def create_token(
    *, actor: User, name: str, scopes: Sequence[str] = ("read", "write"), expires_in_days: int = 90
) -> tuple[Token, str]:
    """A new token and its secret, which is not stored and can't be shown again."""
    unknown = sorted(set(scopes) - set(Token.Scope.values))
    if unknown or not scopes:
        raise Invalid(
            f"Scopes given: {', '.join(scopes) or 'none'}; choose from {', '.join(Token.Scope.values)}.", field="scopes"
        )
    if not 1 <= expires_in_days <= MAX_DAYS:
        raise Invalid(f"expires_in_days is {expires_in_days}; choose 1 to {MAX_DAYS}.", field="expires_in_days")
    if not name.strip():
        raise Invalid("A token needs a name, so that you can recognise it when you revoke it.", field="name")
    secret = PREFIX + secrets.token_urlsafe(30)
    token = Token.objects.create(
        user=actor,
        name=name.strip()[:100],
        prefix=secret[:8],
        digest=_digest(secret),
        scopes=sorted(set(scopes)),
        expires_at=timezone.now() + timedelta(days=expires_in_days),
    )
    record(actor, "token.create", token.prefix, scopes=token.scopes)
    return token, secret


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
    token = Token.objects.select_related("user").filter(digest=_digest(secret), revoked_at=None).first()
    if token is None or not token.user.is_active or (token.expires_at and token.expires_at <= now):
        return None
    if is_paused(token.user):
        return None
    if token.last_used_at is None or now - token.last_used_at > SEEN_GRAIN:
        Token.objects.filter(pk=token.pk).update(last_used_at=now)
    note_address(token)
    return token


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
