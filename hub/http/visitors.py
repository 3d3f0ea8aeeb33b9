"""A request as signing in sees it, and the cookie that makes its browser a known device."""

import time

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from hub.http.peer import address_of
from hub.models import User
from hub.services.signing_in import devices
from hub.services.signing_in.sign_in import Visitor

# In the session: for whom a provider vouched, or who gave their password again, and when; how long that counts.
VOUCHED, CONFIRMED, SECONDS = "oidc_vouched", "oidc_connects", 600


def visitor_of(request: HttpRequest, door: str = "page") -> Visitor:
    """Where a try to sign in comes from."""
    device = request.COOKIES.get(devices.COOKIE, "")
    return Visitor(address=address_of(request), device=device, door=door, vouched=_noted(request, VOUCHED))


def note(request: HttpRequest, what: str, user: User) -> None:
    """Note VOUCHED or CONFIRMED of this user in the session. It counts for them alone, until their sessions end."""
    request.session[what] = [user.pk, user.sign_in_epoch, time.time()]


def is_noted(request: HttpRequest, what: str, user: User) -> bool:
    """Whether that was noted of this user within the last ten minutes."""
    return _noted(request, what) == (user.pk, user.sign_in_epoch)


def _noted(request: HttpRequest, what: str) -> tuple[int, int] | None:
    pk, epoch, at = getattr(request, "session", {}).get(what) or (0, 0, 0)
    return (pk, epoch) if 0 <= time.time() - at < SECONDS else None


def remember_device(request: HttpRequest, response: HttpResponse, user: User) -> HttpResponse:
    """Let strangers' guesses not slow down `user` on this browser from now on."""
    response.set_cookie(
        devices.COOKIE,
        devices.remembered(user, request.COOKIES.get(devices.COOKIE, "")),
        max_age=devices.SECONDS_KEPT,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return response
