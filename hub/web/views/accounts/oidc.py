"""Signing in by the operator's OpenID Connect provider, and connecting it with an account one has."""

import time

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from hub import access
from hub.http import oidc_client
from hub.http.visitors import VOUCHED, remember_device, visitor_of
from hub.services.signing_in import identities
from hub.web.way_back import lead_back

BACKEND = "django.contrib.auth.backends.ModelBackend"
# In the session: where to go afterwards, and who wants to be connected.
NEXT, CONNECTS = "oidc_next", "oidc_connects"


@require_safe
def begin(request: HttpRequest) -> HttpResponse:
    """To the provider; a signed-in user connects it with their account."""
    _require_provider()
    answer = oidc_client.begin(request)
    request.session[NEXT] = request.GET.get("next", "")
    request.session[CONNECTS] = request.user.pk if request.user.is_authenticated else None
    return answer


@require_safe
def back(request: HttpRequest) -> HttpResponse:
    """From the provider: signed in, or connected."""
    _require_provider()
    claims = oidc_client.end(request)
    where, connects = request.session.pop(NEXT, ""), request.session.pop(CONNECTS, None)
    if request.user.is_authenticated:
        if connects == request.user.pk:
            identities.connect(user=request.user, claims=claims)
            request.session[VOUCHED] = time.time()
            messages.success(request, f"{settings.OIDC.name} signs you in from now on.")
        return redirect("account")
    user = identities.sign_in_by(claims, visitor_of(request))
    login(request, user, backend=BACKEND)
    request.session[VOUCHED] = time.time()
    request.session.set_expiry(settings.OIDC.hours * 3600)
    return remember_device(request, lead_back(request, where), user)


@require_POST
def disconnect(request: HttpRequest, pk: int) -> HttpResponse:
    """Take a connection away."""
    viewer = access.viewer_of(request)
    identity = access.identity(viewer, pk)
    identities.disconnect(user=viewer.user, identity=identity)
    messages.success(request, "Disconnected.")
    return redirect("account")


def _require_provider() -> None:
    if settings.OIDC is None:
        raise Http404
