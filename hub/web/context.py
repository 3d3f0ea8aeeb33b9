"""What every page's frame shows: who is signed in, and how many versions are in their merge basket."""

from django.conf import settings
from django.http import HttpRequest

from hub.web import basket


def frame(request: HttpRequest) -> dict:
    """For templates/base.html."""
    return {
        "basket": basket.names(request),
        "sign_up_open": settings.SIGN_UP_OPEN,
        "provider": settings.OIDC.name if settings.OIDC else "",
    }
