"""All hosts of a site have one secret key: with another one they would refuse each other's sessions and links, and
couldn't read what is sealed in the database. Its fingerprint is kept there, so a host with another key doesn't start.
"""

from django.conf import settings
from django.utils.crypto import salted_hmac

from hub.models import SiteKey
from hub.services.starting.refusal import CannotStart


def require_the_sites_key() -> None:
    """Note this process's key where none is noted. CannotStart where the site's is another, and not an old one here.

    Where the site's is one of HUB_OLD_SECRET_KEYS here, the key is being replaced: this one becomes the site's.
    """
    mine = fingerprint(settings.SECRET_KEY)
    site, _ = SiteKey.objects.get_or_create(pk=SiteKey.ONLY, defaults={"fingerprint": mine})
    if site.fingerprint == mine:
        return
    if site.fingerprint not in map(fingerprint, settings.SECRET_KEY_FALLBACKS):
        raise CannotStart(
            "The secret key of this host is not the one of this site: sessions, links and sealed secrets of other "
            "hosts could not be read here. Give every host the same HUB_SECRET_KEY (a host without it makes its own, "
            "in HUB_DATA/secret_key). To replace the key, put the old one into HUB_OLD_SECRET_KEYS on every host "
            "first. If the old one is lost: manage.py accept_secret_key."
        )
    accept()


def accept() -> None:
    """Make this process's key the site's."""
    SiteKey.objects.update_or_create(pk=SiteKey.ONLY, defaults={"fingerprint": fingerprint(settings.SECRET_KEY)})


def fingerprint(key: str) -> str:
    """64 hex digits that tell nothing of the key but whether another is the same."""
    return salted_hmac("hub.services.starting.keys", "the site's key", secret=key, algorithm="sha256").hexdigest()
