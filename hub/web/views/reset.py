"""A new password by a link that an administrator gave."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from hub.services import administration
from hub.web.forms.refusal import Refused, refusal_of


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def reset_password(request: HttpRequest, who: str, secret: str) -> HttpResponse:
    """Set it once; tokens and sessions made before end."""
    user, refused = administration.user_of_link(who, secret), Refused()
    if request.method == "POST":
        with refusal_of(refused):
            administration.use_reset_link(who=who, secret=secret, password=request.POST.get("password", ""))
            messages.success(request, "Your password is set. Sign in with it.")
            return redirect("sign_in")
    context = {"username": user.username, "refused": refused}
    response = render(request, "accounts/reset_password.html", context, status=refused.status)
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response
