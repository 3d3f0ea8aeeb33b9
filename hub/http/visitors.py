"""A request as signing in sees it, and the cookie that makes its browser a known device."""

import time

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from hub.http.peer import address_of
from hub.models import User
from hub.services.signing_in import devices
from hub.services.signing_in.sign_in import Visitor

# In the session: when a provider vouched for its user last, and how long that counts.
VOUCHED, SECONDS_VOUCHED = "oidc_vouched_at", 600


def visitor_of(request: HttpRequest, door: str = "page") -> Visitor:
    """Where a try to sign in comes from."""
    session = getattr(request, "session", {})
    vouched = time.time() - session.get(VOUCHED, 0) < SECONDS_VOUCHED
    device = request.COOKIES.get(devices.COOKIE, "")
    return Visitor(address=address_of(request), device=device, door=door, vouched=vouched)


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
