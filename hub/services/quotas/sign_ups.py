"""How many accounts one address may make on one day. Addresses are kept as keyed hashes, and for that day only."""

import ipaddress

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.crypto import salted_hmac

from hub.errors import TooMany
from hub.models import SignUps


@transaction.atomic
def count_sign_up(address: str) -> None:
    """Count one account made from `address`; TooMany where the day's are used up. Call it with the account's making."""
    if not settings.SIGN_UPS_A_DAY:
        return
    today = timezone.now().date()
    SignUps.objects.filter(day__lt=today).delete()
    key = {"day": today, "address": salted_hmac("hub.sign-ups", _network(address), algorithm="sha256").hexdigest()}
    SignUps.objects.bulk_create([SignUps(**key)], ignore_conflicts=True)
    if not SignUps.objects.filter(**key, count__lt=settings.SIGN_UPS_A_DAY).update(count=F("count") + 1):
        error = TooMany(
            f"At most {settings.SIGN_UPS_A_DAY} accounts a day may be made from one address, and yours has made them. "
            "Try again tomorrow, or ask an administrator of this hub for an account.",
            code="quota.sign_ups",
            used=settings.SIGN_UPS_A_DAY,
            limit=settings.SIGN_UPS_A_DAY,
            needed=1,
        )
        error.headers["Retry-After"] = str(_seconds_left())
        raise error


def _network(address: str) -> str:
    """The address; of IPv6 its /64, which one household or machine has whole."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 6 and found.ipv4_mapped is None:
        return str(ipaddress.ip_network(f"{found}/64", strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)


def _seconds_left() -> int:
    now = timezone.now()
    return 86_400 - (now.hour * 3600 + now.minute * 60 + now.second)
