"""A namespace's webhooks and their deliveries, for its admins."""

from django.db.models import QuerySet

from hub import access
from hub.access import Viewer
from hub.models import Delivery, Namespace, Webhook


def webhooks(viewer: Viewer, namespace: Namespace) -> QuerySet[Webhook]:
    """Those of a namespace, in the order they were added."""
    access.require_role(viewer, namespace, "admin", namespace.name)
    found = Webhook.objects.filter(namespace=namespace)
    return found.select_related("namespace", "repository__namespace", "created_by").order_by("pk")


def deliveries(webhook: Webhook) -> QuerySet[Delivery]:
    """Those of a webhook that the viewer was given, newest first."""
    return Delivery.objects.filter(webhook=webhook).order_by("-pk")
