"""The way in: name and password, then the one-time code where the user has a second factor.

Unknown names, wrong passwords and accounts that are not active answer alike, after the same work. Every success and
every failure is told to the audit log with address and way, tries that were turned away once an hour for each bucket.
"""

from dataclasses import dataclass

from hub.errors import NotSignedIn, PermissionDenied, TooManyTries
from hub.models import User
from hub.services.audit import record
from hub.services.signing_in import devices, passwords, second_factor, throttle

UNKNOWN = "(unknown name)"
LONGEST_NAME = 150


@dataclass(frozen=True, kw_only=True, slots=True)
class Visitor:
    """Where a try comes from: the address, the device's cookie or "", the door (page, api), and the (key, epoch) of
    the user for whom their provider vouched in this session in the last minutes."""

    address: str
    device: str = ""
    door: str = "page"
    vouched: tuple[int, int] | None = None


def sign_in(*, username: str, password: str, code: str, visitor: Visitor) -> User:
    """The user, after password and code in one step; NotSignedIn with `sign_in.code_needed` where the code is missing.

    Raises as `by_password` and `by_code`.
    """
    user = by_password(username=username, password=password, visitor=visitor)
    if second_factor.is_on(user):
        if not code:
            raise NotSignedIn(
                "This account has a second factor: send the one-time code of your app, or a recovery code, as `code`.",
                code="sign_in.code_needed",
            )
        by_code(user=user, code=code, visitor=visitor)
    return user


def by_password(*, username: str, password: str, visitor: Visitor) -> User:
    """The active user of this name and password; where they have a second factor, `by_code` is still to come.

    NotSignedIn for a wrong name or password, TooManyTries, and Invalid for a password too long to be one.
    """
    passwords.require_possible(password)
    user = _named(username)
    device = devices.known(user, visitor.device)
    # PostgreSQL finds `admin` by `admın` too: both are guesses at one name.
    name = user.username if user else username[:LONGEST_NAME]
    buckets = throttle.of_password(name, visitor.address, device)
    _enter(buckets, user, visitor, "password")
    if not passwords.matches(user, password):
        _tell(None, "sign_in.failed", user, visitor, "password")
        raise NotSignedIn("The user name or the password is wrong; check both.", code="sign_in.failed")
    throttle.passed(buckets)
    if not second_factor.is_on(user):
        welcome(user=user, visitor=visitor, way="password")
    return user


def by_code(*, user: User, code: str, visitor: Visitor) -> None:
    """Take the one-time code, or a recovery code, of a user whose password was right."""
    way = _take_code(user, code, visitor)
    welcome(user=user, visitor=visitor, way=way)


def welcome(*, user: User, visitor: Visitor, way: str) -> None:
    """Note that the user is signed in, for whoever has made sure of it in another way too."""
    _tell(user, "sign_in.ok", user, visitor, way)


def confirm(*, user: User, password: str, code: str, visitor: Visitor) -> None:
    """Ask a signed-in user for the password again, and for a code where they have a second factor.

    For what a stolen session must not do. PermissionDenied where either is wrong, TooManyTries after too many. Who has
    no password comes by their provider again instead.
    """
    if user.has_usable_password():
        _confirm_password(user, password, visitor)
    elif visitor.vouched != (user.pk, user.sign_in_epoch):
        raise PermissionDenied(
            "You have no password here, so your provider must vouch for you: sign out, sign in again, and do this "
            "within ten minutes.",
            code="oidc.vouch",
        )
    if second_factor.is_on(user):
        try:
            _take_code(user, code, visitor)
        except NotSignedIn as refusal:
            raise PermissionDenied(refusal.message, code=refusal.code, field="code") from None


def _confirm_password(user: User, password: str, visitor: Visitor) -> None:
    passwords.require_possible(password)
    buckets = {f"confirm:{user.pk}:{throttle.network_of(visitor.address)}": throttle.PAIR}
    _enter(buckets, user, visitor, "password again")
    if not passwords.matches(user, password):
        _tell(user, "sign_in.failed", user, visitor, "password again")
        raise PermissionDenied("The password is wrong.", code="password.wrong", field="password")
    throttle.passed(buckets)


def _take_code(user: User, code: str, visitor: Visitor) -> str:
    """The way the code was of; NotSignedIn where it is wrong."""
    device = devices.known(user, visitor.device)
    buckets = {f"code:{user.pk}:{device or ''}": throttle.CODE}
    _enter(buckets, user, visitor, "code")
    way = second_factor.take(user, code)
    if way is None:
        _tell(None, "sign_in.failed", user, visitor, "code")
        raise NotSignedIn(
            "The code is wrong, or was used before. Wait for the next one in your app, or use a recovery code.",
            code="sign_in.code_wrong",
            field="code",
        )
    throttle.passed(buckets)
    return way


def _named(username: str) -> User | None:
    """The user of this name in whatever case; their own spelling first, where old accounts differ by case only."""
    if "\0" in username or len(username) > LONGEST_NAME:
        return None
    found = list(User.objects.filter(username__iexact=username).order_by("pk")[:2])
    return next((user for user in found if user.username == username), found[0] if found else None)


def _enter(buckets: throttle.Buckets, user: User | None, visitor: Visitor, way: str) -> None:
    try:
        throttle.enter(buckets)
    except TooManyTries as refusal:
        if refusal.untold:
            _tell(None, "sign_in.throttled", user, visitor, way)
        raise


def _tell(actor: User | None, verb: str, user: User | None, visitor: Visitor, way: str) -> None:
    """An unknown name is not written down: people type passwords into the wrong field."""
    name = user.username if user else UNKNOWN
    record(actor, verb, name, address=visitor.address, way=way, door=visitor.door)
