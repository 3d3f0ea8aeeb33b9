"""A namespace's webhooks: which there are, what was sent, and what its admins do with them."""

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from hub import access, queries
from hub.errors import HubError
from hub.names import split_path
from hub.services.webhooks import registry
from hub.services.webhooks.notices import EVENTS
from hub.web.forms.refusal import Refused, refusal_of
from hub.web.paging import page


@require_http_methods(["GET", "POST"])
def webhooks(request: HttpRequest, namespace: str) -> HttpResponse:
    """The webhooks of a namespace; a new one's secret is shown this once."""
    viewer = access.viewer_of(request)
    place = access.namespace(viewer, namespace, "admin")
    refused, secret, form = Refused(), "", {"url": request.POST.get("url", "").strip()}
    if request.method == "POST":
        name = request.POST.get("repository", "").strip()
        with refusal_of(refused):
            repository = access.repository(viewer, *split_path(name, place.name), "admin") if name else None
            wanted = {"events": request.POST.getlist("events"), "repository": repository, **form}
            _, secret = registry.add_webhook(actor=viewer.user, namespace=place, **wanted)
            form = {}
    context = {"namespace": place, "webhooks": queries.webhooks(viewer, place), "events": list(EVENTS)}
    context |= {"secret": secret, "refused": refused, "form": form}
    return _shown(render(request, "webhooks/list.html", context, status=refused.status))


@require_http_methods(["GET", "POST"])
def webhook(request: HttpRequest, namespace: str, pk: int) -> HttpResponse:
    """One webhook with its deliveries; its buttons."""
    viewer = access.viewer_of(request)
    found, secret = access.webhook(viewer, namespace, pk), ""
    if request.method == "POST":
        act = request.POST.get("act", "")
        try:
            secret = _act(viewer, found, act, request.POST)
        except HubError as error:
            messages.error(request, error.message)
        if act == "remove":
            return redirect("webhooks", found.namespace.name)
        if not secret:
            return redirect("webhook", found.namespace.name, pk)
    rows, following = page(request, queries.deliveries(found), ("-id",))
    context = {"webhook": found, "deliveries": rows, "next": following, "secret": secret, "events": list(EVENTS)}
    return _shown(render(request, "webhooks/webhook.html", context))


def _act(viewer, found, act: str, form) -> str:
    """Do what a button says; the new secret where it asked for one."""
    asked = {"actor": viewer.user, "webhook": found}
    if act == "secret":
        return registry.renew_secret(**asked)
    if act == "change":
        registry.change_webhook(**asked, url=form.get("url", "").strip(), events=form.getlist("events"))
    elif act in ("on", "off"):
        registry.change_webhook(**asked, active=act == "on")
    elif act == "ping":
        registry.ping(**asked)
    elif act == "remove":
        registry.remove_webhook(**asked)
    elif act == "redeliver":
        delivery = access.delivery(viewer, found.namespace.name, found.pk, _key(form.get("key", "")))
        registry.redeliver(actor=viewer.user, delivery=delivery)
    return ""


def _key(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise access.missing(text, "delivery") from None


def _shown(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store"
    return response
