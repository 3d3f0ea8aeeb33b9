"""Limits of one namespace or user: what is used, and the administrator's own numbers."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from hub import access
from hub.errors import Invalid
from hub.queries import administration as queries
from hub.services import administration
from hub.web.forms.refusal import Refused, refusal_of


@require_http_methods(["GET", "POST"])
def quotas(request: HttpRequest, of: str, name: str) -> HttpResponse:
    """The limits of a namespace (`of` namespaces) or user (`of` users); an empty field takes the settings'."""
    viewer, refused = access.viewer_of(request), Refused()
    subject = queries.any_user(viewer, name) if of == "users" else queries.any_namespace(viewer, name)
    rows = queries.limits(viewer, subject)
    own = queries.own_limits(viewer, subject)
    if request.method == "POST":
        with refusal_of(refused):
            given = {row.name: _number(row.name, request.POST.get(row.name, "")) for row in rows}
            changed = {key: value for key, value in given.items() if value != own.get(key)}
            reason = request.POST.get("reason", "")
            administration.set_limits(actor=viewer.user, subject=subject, limits=changed, reason=reason)
            messages.success(request, f"The limits of {name} are set.")
            return redirect("admin_quotas", of=of, name=name)
    fields = [{"row": row, "own": own.get(row.name, "")} for row in rows]
    context = {"of": of, "name": name, "fields": fields, "rows": rows, "refused": refused}
    section = "users" if of == "users" else "storage"
    return render(request, "admin/quotas.html", context | {"section": section}, status=refused.status)


def _number(name: str, text: str) -> int | None:
    text = text.strip().replace(",", "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Invalid(f"{name} is {text[:40]!r}; give a whole number, 0 for no limit.", field=name)
    return int(text)
