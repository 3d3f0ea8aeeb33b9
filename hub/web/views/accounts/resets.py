"""A new password by a link, for who has forgotten theirs."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from hub.http.visitors import remember_device, visitor_of
from hub.services import mail
from hub.services.signing_in import resets
from hub.web.forms.refusal import Refused, refusal_of

# The link's two halves wait in the session, so that its address is not left in the browser's history or sent on.
KEPT = "reset_link"


@require_http_methods(["GET", "POST"])
def ask(request: HttpRequest) -> HttpResponse:
    """Ask for a link by mail. The answer is the same whether the name exists or not."""
    refused, asked = Refused(), False
    if request.method == "POST" and mail.is_set():
        with refusal_of(refused):
            resets.ask(name=request.POST.get("name", ""), visitor=visitor_of(request))
            asked = True
    return refused.on(
        render(request, "accounts/ask_reset.html", {"refused": refused, "asked": asked, "mail": mail.is_set()})
    )


@require_safe
@never_cache
def link(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """A link was opened: keep it in the session and show the form. Nothing is used up by opening it."""
    resets.user_of_link(uid, token)
    request.session[KEPT] = [uid, token]
    return redirect("reset_password")


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
@never_cache
def new(request: HttpRequest) -> HttpResponse:
    """The form for the new password, and its setting."""
    uid, token = request.session.get(KEPT, ("", ""))
    user, refused = resets.user_of_link(uid, token), Refused()
    if request.method == "POST":
        with refusal_of(refused):
            user = resets.set_by_link(uid=uid, token=token, password=request.POST.get("password", ""))
            del request.session[KEPT]
            messages.success(request, "Your password is set. All older sessions and tokens have ended: sign in.")
            return remember_device(request, redirect("sign_in"), user)
    return refused.on(render(request, "accounts/reset_password.html", {"refused": refused, "name": user.username}))
