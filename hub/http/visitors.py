"""A request as signing in sees it, and the cookie that makes its browser a known device."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from hub.http.peer import address_of
from hub.models import User
from hub.services.signing_in import devices
from hub.services.signing_in.sign_in import Visitor


def visitor_of(request: HttpRequest, door: str = "page") -> Visitor:
    """Where a try to sign in comes from."""
    return Visitor(address=address_of(request), device=request.COOKIES.get(devices.COOKIE, ""), door=door)


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
