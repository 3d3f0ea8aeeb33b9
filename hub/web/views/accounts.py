"""Signing up, in and out; tokens for programs."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from hub import access, queries
from hub.errors import Invalid, PermissionDenied
from hub.services import accounts
from hub.services import tokens as services
from hub.web.forms.refusal import Refused, refusal_of

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
    """By name and password, then back to where one came from."""
    refused, back = Refused(), request.POST.get("next", request.GET.get("next", ""))
    if request.method == "POST":
        username, password = request.POST.get("username", ""), request.POST.get("password", "")
        user = authenticate(request, username=username, password=password)
        if user is not None:
            login(request, user)
            return redirect(back if url_has_allowed_host_and_scheme(back, request.get_host()) else "browse")
        refused = Refused("The user name or the password is wrong. Try again.", "password", 422)
    context = {"refused": refused, "next": back, "username": request.POST.get("username", "")}
    return render(request, "accounts/sign_in.html", context, status=refused.status)


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def sign_up(request: HttpRequest) -> HttpResponse:
    """A new user with their own namespace, signed in at once."""
    if not settings.SIGN_UP_OPEN:
        raise PermissionDenied("This hub takes no sign-ups; ask its operator for an account.")
    refused = Refused()
    form = {name: request.POST.get(name, "").strip() for name in ("username", "email")}
    if request.method == "POST":
        with refusal_of(refused):
            user = accounts.create_user(**form, password=request.POST.get("password", ""))
            login(request, user, backend="django.contrib.auth.backends.ModelBackend")
            return redirect("browse")
    context = {"refused": refused, "form": form}
    return render(request, "accounts/sign_up.html", context, status=refused.status)


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
