"""Links that set a new password: signed, for one use, and dead after a while, a sign-in or another change.

A link goes by mail where the hub can send mails, else the operator or an administrator makes one. Whoever asks for a
mail gets the same answer at once, whether the name exists or not: the worker that sends it looks.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

from hub.errors import Invalid, TooManyTries
from hub.models import User
from hub.services import mail, outbox
from hub.services.audit import record
from hub.services.signing_in import passwords, throttle
from hub.services.signing_in.sign_in import LONGEST_NAME, Visitor

TOPIC = "mail.reset"
# Several accounts may share an address.
MOST_ACCOUNTS = 5
TEXT = """Somebody, probably you, asked for a new password of the account {name} on {url}.

Set it here within {minutes} minutes: {link}

If it was not you, there is nothing to do: your password is still the same.
"""


class _Links(PasswordResetTokenGenerator):
    """Django's own, over the password, the last sign-in and the address; and over the epoch of the sessions."""

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        return f"{super()._make_hash_value(user, timestamp)}{user.sign_in_epoch}{user.is_active}"


_links = _Links()


def make_link(user: User) -> str:
    """The path of a page that sets the user's password, once; valid for PASSWORD_RESET_TIMEOUT seconds."""
    uid = urlsafe_base64_encode(str(user.pk).encode())
    return reverse("reset_password_link", args=[uid, _links.make_token(user)])


def issue_link(*, actor: User | None, user: User) -> str:
    """The whole address of such a page, told to the audit log; `actor` is None for the operator."""
    record(actor, "user.reset_link", user.username)
    return f"{settings.HUB_URL}{make_link(user)}"


def user_of_link(uid: str, token: str) -> User:
    """The user whose password this link sets; Invalid where it was used or is too old."""
    try:
        pk = int(urlsafe_base64_decode(uid))
    except (ValueError, OverflowError):
        pk = 0
    user = User.objects.filter(pk=pk, is_active=True).first() if 0 < pk < 2**63 else None
    if user is None or not _links.check_token(user, token):
        raise Invalid("This link was used, or is too old. Ask for a new one.", code="reset.link_over")
    return user


@transaction.atomic
def set_by_link(*, uid: str, token: str, password: str) -> User:
    """Set the password; of two at the same moment the second finds the link used."""
    user = user_of_link(uid, token)
    User.objects.select_for_update().get(pk=user.pk)
    user = user_of_link(uid, token)
    passwords.set_password(actor=user, user=user, password=password, why="link")
    return user


@transaction.atomic
def ask(*, name: str, visitor: Visitor) -> None:
    """Mail a link to the account of this name, or to all of this address; TooManyTries for one visitor's many asks."""
    throttle.enter({f"ask:{throttle.network_of(visitor.address)}": throttle.ADDRESS})
    outbox.put(TOPIC, name=name[:LONGEST_NAME].replace("\0", ""), at=timezone.now().isoformat())


@outbox.handles(TOPIC)
def _send_links(payload: dict, key: str) -> None:
    """Of an ask that waited for long nothing is sent: its user has asked again or signed in."""
    lifetime = timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT)
    if timezone.now() - datetime.fromisoformat(payload["at"]) > lifetime or not mail.is_set():
        return
    name = payload["name"].strip()
    found = User.objects.filter(Q(username__iexact=name) | Q(email__iexact=name), is_active=True).exclude(email="")
    for user in found.order_by("pk")[:MOST_ACCOUNTS] if name else ():
        try:
            throttle.enter({f"mail:{user.pk}": throttle.MAILS})
        except TooManyTries:
            continue
        link, minutes = issue_link(actor=None, user=user), settings.PASSWORD_RESET_TIMEOUT // 60
        text = TEXT.format(name=user.username, url=settings.HUB_URL, link=link, minutes=minutes)
        mail.send(user.email, "A new password for the adapter hub", text)
