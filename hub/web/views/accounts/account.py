"""My account: mail, password, second factor, the end of sessions and tokens, and leaving.

What a stolen session must not do asks for the password again, and for a code where there is a second factor.
"""

from collections.abc import Callable

from django.contrib import messages
from django.contrib.auth import logout, update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hub import access
from hub.errors import PermissionDenied
from hub.http.visitors import remember_device, visitor_of
from hub.models import User
from hub.services import accounts, leaving
from hub.services.signing_in import passwords, sessions
from hub.services.signing_in import second_factor as factor
from hub.services.signing_in.sign_in import confirm
from hub.web.forms.refusal import Refused, refusal_of
from hub.web.pages.account import account_page, qr_code

SECRETS = ("password", "new_password", "code")
LEAVE = {"deactivate": leaving.deactivate_user, "delete": leaving.delete_user}


@require_safe
@never_cache
def account(request: HttpRequest) -> HttpResponse:
    """Everything about my account."""
    return _show(request)


@sensitive_post_parameters(*SECRETS)
@require_POST
def password(request: HttpRequest) -> HttpResponse:
    """A new password; this browser stays signed in, all else ends."""

    def _do(user: User) -> HttpResponse:
        passwords.set_password(actor=user, user=user, password=request.POST.get("new_password", ""))
        return _stay(request, user, "Your password is changed. All other sessions and all tokens have ended.")

    return when_confirmed(request, "password", _do)


@sensitive_post_parameters(*SECRETS)
@require_POST
def email(request: HttpRequest) -> HttpResponse:
    """Another e-mail address."""

    def _do(user: User) -> HttpResponse:
        accounts.set_email(actor=user, user=user, email=request.POST.get("email", ""))
        messages.success(request, "Your e-mail address is changed.")
        return redirect("account")

    return when_confirmed(request, "email", _do)


@require_POST
def end(request: HttpRequest) -> HttpResponse:
    """End my other sessions, or all my tokens."""
    user = access.require_user(access.viewer_of(request))
    if request.POST.get("what") == "tokens":
        count = sessions.end_tokens(actor=user, user=user)
        messages.success(request, f"{count} token{'' if count == 1 else 's'} revoked.")
        return redirect("account")
    sessions.end_sessions(actor=user, user=user)
    return _stay(request, user, "All your other sessions have ended.")


@sensitive_post_parameters(*SECRETS)
@require_http_methods(["GET", "POST"])
@never_cache
def second_factor(request: HttpRequest) -> HttpResponse:
    """Set up one-time codes: the password, then the QR code and a first code of the app."""
    user = access.require_user(access.viewer_of(request))
    refused, context = Refused(), {}
    if request.method == "POST" and "first_code" in request.POST:
        with refusal_of(refused):
            context = {"codes": factor.confirm(user=user, code=request.POST["first_code"].replace(" ", ""))}
    elif request.method == "POST":
        with refusal_of(refused, PermissionDenied):
            _confirm(request, user)
            factor.begin(user=user)
            return redirect("second_factor")
    if not context and not factor.is_on(user) and (secret := factor.begun(user)):
        context = {"secret": secret, "qr": qr_code(factor.address_of(user, secret))}
    context |= {"refused": refused, "on": factor.is_on(user)}
    return refused.on(render(request, "accounts/second_factor.html", context))


@sensitive_post_parameters(*SECRETS)
@require_POST
def second_factor_off(request: HttpRequest) -> HttpResponse:
    """The password alone signs in again."""

    def _do(user: User) -> HttpResponse:
        factor.switch_off(actor=user, user=user)
        messages.success(request, "Your second factor is off.")
        return redirect("account")

    return when_confirmed(request, "second_factor", _do)


@sensitive_post_parameters(*SECRETS)
@require_POST
@never_cache
def recovery_codes(request: HttpRequest) -> HttpResponse:
    """New recovery codes instead of the old ones, shown this once."""

    def _do(user: User) -> HttpResponse:
        codes = factor.renew_codes(user=user)
        return render(request, "accounts/second_factor.html", {"codes": codes, "on": True})

    return when_confirmed(request, "second_factor", _do)


@sensitive_post_parameters(*SECRETS)
@require_POST
def leave(request: HttpRequest, act: str) -> HttpResponse:
    """Deactivate or delete my account."""

    def _do(user: User) -> HttpResponse:
        LEAVE[act](actor=user, user=user)
        logout(request)
        messages.success(request, "Your account is deleted." if act == "delete" else "Your account is deactivated.")
        return redirect("browse")

    return when_confirmed(request, act, _do)


def when_confirmed(request: HttpRequest, form: str, act: Callable[[User], HttpResponse]) -> HttpResponse:
    """What `act` answers once password and code are right; else the page, which says why at its form."""
    user = access.require_user(access.viewer_of(request))
    refused = Refused()
    with refusal_of(refused, PermissionDenied):
        _confirm(request, user)
        return act(user)
    return _show(request, refused, form)


def _confirm(request: HttpRequest, user: User) -> None:
    given = {name: request.POST.get(name, "") for name in ("password", "code")}
    confirm(user=user, **given, visitor=visitor_of(request))


def _stay(request: HttpRequest, user: User, say: str) -> HttpResponse:
    """Keep this browser signed in though all sessions were ended."""
    update_session_auth_hash(request, user)
    messages.success(request, say)
    return remember_device(request, redirect("account"), user)


def _show(request: HttpRequest, refused: Refused | None = None, form: str = "") -> HttpResponse:
    refused = refused or Refused()
    context = account_page(access.viewer_of(request)) | {"refused": refused, "form": form}
    return refused.on(render(request, "accounts/account.html", context))
