"""Known devices: a browser that signed in keeps a signed word, and is not slowed down by strangers' guesses.

It is no key: a password is asked for all the same, and wrong ones are counted for that browser alone. The end of a
user's sessions makes all their devices strangers again.
"""

import secrets

from django.core import signing

from hub.models import User

COOKIE = "known_device"
# The longest that browsers keep a cookie.
SECONDS_KEPT = 400 * 24 * 3600
# People who used one browser most lately.
MOST_USERS = 4
SALT = "hub.known-device"


def known(user: User | None, cookie: str) -> str | None:
    """The name of this device if `user` signed in on it before and their sessions weren't ended since."""
    if user is None:
        return None
    mine = (row for row in _read(cookie) if row[:2] == [user.pk, user.sign_in_epoch])
    return next((f"{pk}:{name}" for pk, _, name in mine), None)


def remembered(user: User, cookie: str) -> str:
    """The cookie's new value, once `user` has signed in with the old one."""
    others = [row for row in _read(cookie) if row[0] != user.pk]
    own = known(user, cookie)
    name = own.partition(":")[2] if own else secrets.token_urlsafe(12)
    return signing.dumps([[user.pk, user.sign_in_epoch, name], *others][:MOST_USERS], salt=SALT)


def _read(cookie: str) -> list[list]:
    """[[user's id, epoch, name of the device], …], the latest first; nothing for a word that isn't ours."""
    try:
        return signing.loads(cookie, salt=SALT, max_age=SECONDS_KEPT)
    except signing.BadSignature:
        return []
