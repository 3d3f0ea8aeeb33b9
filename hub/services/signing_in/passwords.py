"""Passwords: the rules for new ones, how a given one is compared, and what a change of it ends.

The rules hold wherever a password is set; which they are is in the settings, `AUTH_PASSWORD_VALIDATORS`.
"""

import unicodedata

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from hub.errors import Invalid
from hub.models import User
from hub.services import mail
from hub.services.audit import record
from hub.services.signing_in.sessions import end_everything

# Beyond any passphrase; what is longer only costs the hub time.
LONGEST_BYTES = 4096
# What must remain of a password without the words that anyone may know, and the characters it must vary.
OWN_CHARACTERS = 6
DIFFERENT_CHARACTERS = 4


class StandsByItself:
    """Refuses what is made of the user's own names, of spaces, or of very few different characters."""

    def validate(self, password: str, user: User | None = None) -> None:
        """ValidationError says which it is."""
        if len({*password} - {*" \t"}) < DIFFERENT_CHARACTERS:
            raise ValidationError(
                f"This password has fewer than {DIFFERENT_CHARACTERS} different characters besides spaces.",
                code="password_too_simple",
            )
        rest = password.casefold()
        for word in _known_words(user):
            rest = rest.replace(word, "")
        if len(rest) < OWN_CHARACTERS <= len(password):
            raise ValidationError(
                "This password is little more than your user name or e-mail address.", code="password_too_similar"
            )

    def get_help_text(self) -> str:
        """For forms."""
        return "Your password can't be made of your user name or e-mail address, or of spaces."


def _known_words(user: User | None) -> list[str]:
    if user is None:
        return []
    name, mail_name = user.username.casefold(), (user.email or "").casefold()
    words = {name, mail_name, mail_name.partition("@")[0]}
    return sorted((word for word in words if len(word) > 2), key=len, reverse=True)


def normalised(password: str) -> str:
    """The password in Unicode's NFKC, so that one keyboard's `é` is another's."""
    return unicodedata.normalize("NFKC", password)


def require_possible(password: str) -> None:
    """Invalid for what is too long to be hashed, before anything is spent on it."""
    size = len(password.encode(errors="surrogatepass"))
    if size > LONGEST_BYTES:
        raise Invalid(
            f"The password has {size:,} bytes; at most {LONGEST_BYTES:,} are allowed. Choose a shorter one.",
            field="password",
        )


def check_new(password: str, user: User) -> str:
    """The password as it is to be hashed; Invalid says all that is wrong with it."""
    require_possible(password)
    wanted = normalised(password)
    try:
        validate_password(wanted, user)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages), field="password") from None
    return wanted


def matches(user: User | None, password: str) -> bool:
    """True for the password of this active user. It takes as long for None, who has none, as for anyone."""
    someone = user if user is not None else User(password="!")
    # Passwords from before normalisation were hashed as they were typed.
    right = [someone.check_password(one) for one in dict.fromkeys((normalised(password), password))]
    return any(right) and someone.is_active


@transaction.atomic
def set_password(*, actor: User | None, user: User, password: str, why: str = "changed") -> None:
    """A new password; it ends all tokens and sessions of the user. Invalid says what is wrong with it.

    `actor` is None for an operator at the command line. `why` is for the log: changed, link, operator.
    """
    user.set_password(check_new(password, user))
    user.save(update_fields=["password"])
    record(actor, "user.password", user.username, why=why)
    end_everything(actor=actor, user=user)
    mail.notify(user, "password_connected" if user.identities.exists() else "password")
