"""Signing up, in and out; tokens for programs."""

from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from hub import access, queries
from hub.errors import Invalid, NotSignedIn
from hub.http.peer import address_of
from hub.http.visitors import remember_device, visitor_of
from hub.models import User
from hub.services import accounts, mail
from hub.services import tokens as services
from hub.services.signing_in import second_factor, sessions
from hub.services.signing_in.sign_in import by_code, by_password, welcome
from hub.web.forms.refusal import Refused, refusal_of
from hub.web.way_back import lead_back

BACKEND = "django.contrib.auth.backends.ModelBackend"
# Where the session keeps who has given their password and owes the code.
HALF = "half_signed_in"
LIFETIMES = (7, 30, 90, 365)
SCOPES = {
    "download": "fetch files only; tick it alone",
    "read": "see what you may see, download",
    "write": "push, tag, start jobs",
    "admin": "change visibility and roles, delete",
}


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """By name and password, then by a code where the user has a second factor; back to where one came from."""
    refused, back = Refused(), request.POST.get("next", request.GET.get("next", ""))
    username = request.POST.get("username", "")
    if request.method == "POST":
        with refusal_of(refused, NotSignedIn):
            password = request.POST.get("password", "")
            user = by_password(username=username, password=password, visitor=visitor_of(request))
            if second_factor.is_on(user):
                request.session[HALF] = sessions.half(user)
                return redirect(f"{reverse('sign_in_code')}?{urlencode({'next': back})}")
            return enter(request, user, back)
    context = {"refused": refused, "next": back, "username": username, "mail": mail.is_set()}
    return refused.on(render(request, "accounts/sign_in.html", context))


@sensitive_post_parameters("code")
@require_http_methods(["GET", "POST"])
def sign_in_code(request: HttpRequest) -> HttpResponse:
    """The second step: the one-time code of a user whose password was right a moment ago."""
    refused, back = Refused(), request.POST.get("next", request.GET.get("next", ""))
    user = sessions.user_of_half(request.session.get(HALF, ""))
    if request.method == "POST":
        with refusal_of(refused, NotSignedIn):
            by_code(user=user, code=request.POST.get("code", ""), visitor=visitor_of(request))
            del request.session[HALF]
            return enter(request, user, back)
    return refused.on(render(request, "accounts/sign_in_code.html", {"refused": refused, "next": back}))


def enter(request: HttpRequest, user: User, back: str) -> HttpResponse:
    """Begin the session of a user who has shown all they must."""
    login(request, user, backend=BACKEND)
    return remember_device(request, lead_back(request, back), user)


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def sign_up(request: HttpRequest) -> HttpResponse:
    """A new user with their own namespace, signed in at once."""
    accounts.require_open()
    refused = Refused()
    form = {name: request.POST.get(name, "").strip() for name in ("username", "email")}
    if request.method == "POST":
        with refusal_of(refused):
            user = accounts.create_user(**form, password=request.POST.get("password", ""), address=address_of(request))
            welcome(user=user, visitor=visitor_of(request), way="sign-up")
            return enter(request, user, "")
    return refused.on(render(request, "accounts/sign_up.html", {"refused": refused, "form": form}))


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session, basket and all."""
    logout(request)
    return redirect("browse")


@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """My tokens; a new one is shown this once."""
    viewer = access.viewer_of(request)
    user = access.require_user(viewer)
    refused, secret = Refused(), ""
    if request.method == "POST":
        with refusal_of(refused):
            days = request.POST.get("expires_in_days", "")
            if not days.isdigit() or len(days) > 4:
                raise Invalid("Choose how long the token is valid.", field="expires_in_days")
            scopes = request.POST.getlist("scopes")
            name = request.POST.get("name", "")
            limit = _limit(request.POST.get("limit", "").strip())
            given = {"name": name, "scopes": scopes, "expires_in_days": int(days), **limit}
            _, secret = services.create_token(actor=user, **given)
    shown = [{"token": token, "repository": queries.limit_shown(token)} for token in queries.tokens(viewer)]
    context = {"tokens": shown, "secret": secret, "refused": refused, "typed": request.POST if not secret else {}}
    context |= {"lifetimes": LIFETIMES, "scopes": SCOPES}
    response = render(request, "accounts/tokens.html", context, status=refused.status)
    response["Cache-Control"] = "no-store"
    return response


def _limit(text: str) -> dict[str, str]:
    """A namespace, or a repository where there is a slash."""
    return {"repository" if "/" in text else "namespace": text} if text else {}


@require_POST
def revoke_token(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of my tokens."""
    viewer = access.viewer_of(request)
    token = access.token(viewer, pk)
    services.revoke_token(actor=viewer.user, token=token)
    messages.success(request, f"The token {token.name} is revoked.")
    return redirect("tokens")
