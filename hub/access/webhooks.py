"""Webhooks and their deliveries: for the admins of their namespace."""

import uuid

from hub.access.repositories import namespace
from hub.access.viewer import Viewer, missing
from hub.models import Delivery, Webhook


def webhook(viewer: Viewer, name: str, pk: int) -> Webhook:
    """A webhook of the namespace, for those who administer it."""
    found = Webhook.objects.select_related("namespace", "repository__namespace", "created_by").filter(
        namespace=namespace(viewer, name, "admin"), pk=pk
    )
    row = found.first()
    if row is None:
        raise missing(str(pk), "webhook")
    return row


def delivery(viewer: Viewer, name: str, pk: int, key: uuid.UUID) -> Delivery:
    """One delivery of a webhook, likewise."""
    found = Delivery.objects.filter(webhook=webhook(viewer, name, pk), key=key)
    row = found.select_related("webhook__namespace").first()
    if row is None:
        raise missing(str(key), "delivery")
    return row
