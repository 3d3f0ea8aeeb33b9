"""Mails to users, sent through the outbox; without HUB_EMAIL_URL there are none, and nothing waits for them."""

from django.conf import settings
from django.core.mail import send_mail

from hub.models import User
from hub.services import outbox

NOTICES = {
    "password": "The password of your account {name} was changed. All other sessions and all access tokens have ended.",
    "email": "The e-mail address of your account {name} was changed. Mails go to the new address from now on.",
    "second_factor_off": "The second factor of your account {name} was switched off: the password alone signs in.",
    "password_connected": "The password of your account {name} was changed. All other sessions and all access tokens "
    "have ended. Your account page lists the accounts of a sign-in provider that still sign you in: disconnect what is "
    "not yours.",
    "connected": "From now on an account of a sign-in provider signs you in as {name} too; your account page lists it.",
    "deactivated": "Your account {name} was deactivated. An administrator can bring it back.",
    "deleted": "Your account {name} was deleted.",
}
NOT_YOU = "If this was not you, ask an administrator of {url} for help."
TOPIC = "mail.notice"


def is_set() -> bool:
    """True where the hub can send mails."""
    return bool(settings.HUB_EMAIL_URL)


def notify(user: User, what: str, *, address: str | None = None) -> None:
    """Tell the user, at their address or the given one, of a change of their account. Call it in its transaction."""
    to = user.email if address is None else address
    if is_set() and to:
        outbox.put(TOPIC, to=to, name=user.username, what=what)


def send(to: str, subject: str, text: str) -> None:
    """Send now; raises what the mail server raises."""
    send_mail(subject, text, settings.DEFAULT_FROM_EMAIL, [to])


@outbox.handles(TOPIC)
def _send_notice(payload: dict, key: str) -> None:
    text = NOTICES[payload["what"]].format(name=payload["name"])
    send(payload["to"], "Your account on the adapter hub", f"{text}\n\n{NOT_YOU.format(url=settings.HUB_URL)}\n")
