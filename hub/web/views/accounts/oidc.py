"""Signing in by the operator's OpenID Connect provider, and connecting it with an account one has."""

from datetime import timedelta

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from hub import access
from hub.http import oidc_client
from hub.http.visitors import CONFIRMED, VOUCHED, is_noted, note, remember_device, visitor_of
from hub.models import User
from hub.services.signing_in import identities
from hub.web.views.accounts.account import SECRETS, when_confirmed
from hub.web.way_back import lead_back

BACKEND = "django.contrib.auth.backends.ModelBackend"
# In the session: where to go afterwards.
NEXT = "oidc_next"


@require_safe
def begin(request: HttpRequest) -> HttpResponse:
    """To the provider. Who is signed in goes there to connect, and only after `connect`."""
    _require_provider()
    if request.user.is_authenticated and not is_noted(request, CONFIRMED, request.user):
        return redirect("account")
    answer = oidc_client.begin(request)
    request.session[NEXT] = request.GET.get("next", "")
    return answer


@sensitive_post_parameters(*SECRETS)
@require_POST
def connect(request: HttpRequest) -> HttpResponse:
    """Password and code, then on to the provider: whoever signs in there may sign in as this user from now on."""
    _require_provider()

    def _go_on(user: User) -> HttpResponse:
        note(request, CONFIRMED, user)
        # A page that goes on by itself: the pages' policy lets no form lead to another site.
        return render(request, "accounts/connect.html")

    return when_confirmed(request, "connections", _go_on)


@require_safe
def back(request: HttpRequest) -> HttpResponse:
    """From the provider: signed in, or connected."""
    _require_provider()
    claims = oidc_client.end(request)
    where = request.session.pop(NEXT, "")
    if request.user.is_authenticated:
        if is_noted(request, CONFIRMED, request.user):
            identities.connect(user=request.user, claims=claims)
            messages.success(request, f"{settings.OIDC.name} signs you in from now on.")
        request.session.pop(CONFIRMED, None)
        return redirect("account")
    user = identities.sign_in_by(claims, visitor_of(request))
    login(request, user, backend=BACKEND)
    note(request, VOUCHED, user)
    # A moment, not an age: an age would begin anew with each change of the session.
    request.session.set_expiry(timezone.now() + timedelta(hours=settings.OIDC.hours))
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
