"""What keeps a user signed in, and the end of it: sessions, known devices, links and tokens."""

from django.core import signing
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from hub.errors import NotSignedIn
from hub.models import Token, User
from hub.services.audit import record

# Seconds between the password and the one-time code of one sign-in.
HALF_SECONDS = 300
SALT = "hub.half-signed-in"


@transaction.atomic
def end_sessions(*, actor: User | None, user: User) -> None:
    """End all sessions of the user, and with them known devices and links that set a password."""
    User.objects.filter(pk=user.pk).update(sign_in_epoch=F("sign_in_epoch") + 1)
    user.refresh_from_db(fields=["sign_in_epoch"])
    record(actor, "user.sessions_end", user.username)


@transaction.atomic
def end_tokens(*, actor: User | None, user: User) -> int:
    """Revoke all living tokens of the user; how many."""
    ended = Token.objects.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())
    record(actor, "user.tokens_end", user.username, tokens=ended)
    return ended


@transaction.atomic
def end_everything(*, actor: User | None, user: User) -> None:
    """End all sessions and tokens of the user; jobs go on."""
    end_sessions(actor=actor, user=user)
    end_tokens(actor=actor, user=user)


def require_unended(user: User) -> None:
    """Hold the user's row till the end of the transaction; NotSignedIn where all was ended since `user` was read.

    For what would outlive the end: a token made by a request that was under way when the password was changed.
    """
    mine = User.objects.select_for_update(no_key=True).filter(
        pk=user.pk, is_active=True, sign_in_epoch=user.sign_in_epoch
    )
    if not mine.exists():
        raise NotSignedIn("All sessions and tokens of this account were just ended: sign in again.")


def half(user: User) -> str:
    """A word for a session whose user gave their password and still owes the one-time code."""
    return signing.dumps({"user": user.pk, "hash": user.get_session_auth_hash()}, salt=SALT)


def user_of_half(word: str) -> User:
    """The user of this word; NotSignedIn where it is too old, or where their sessions were ended since."""
    try:
        kept = signing.loads(word, salt=SALT, max_age=HALF_SECONDS)
    except signing.BadSignature:
        kept = {}
    user = User.objects.filter(pk=kept.get("user"), is_active=True).first()
    if user is None or user.get_session_auth_hash() != kept["hash"]:
        raise NotSignedIn("That took too long: give your name and password again.", code="sign_in.half_over")
    return user
