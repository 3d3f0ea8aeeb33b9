"""From an audit event to deliveries, in the event's own transaction.

A payload says what a namespace's admins may read in their audit log, and no more: of each verb's detail only the
listed keys go out, since a job or a measurement may be about what they can't see.
"""

from django.db import transaction
from django.db.models import Q

from hub.models import Delivery, Event, Job, Webhook
from hub.services import outbox

TOPIC = "webhook"
PING = "ping"
EVENTS: dict[str, tuple[str, ...]] = {
    "publish": ("revision", "branch", "version"),
    "tag.set": ("tag", "revision"),
    "tag.delete": ("tag",),
    "repository.create": ("kind", "visibility"),
    "repository.update": ("visibility",),
    "repository.delete": (),
    "repository.restore": (),
    "companion.add": ("companion", "visibility"),
    "companion.visibility": ("companion", "visibility"),
    "companion.remove": ("companion",),
    "evaluate": (),
    "job.queue": ("kind", "output"),
    "job.done": ("kind",),
    "job.failed": ("kind", "code"),
    "job.cancel": ("kind",),
    "member.set": ("user", "role"),
    "member.remove": ("user",),
}
"""Verb of the audit log → the keys of its detail that a payload has."""
# Who measured, and on what, is for those who may see the dataset.
NAMELESS = {"evaluate"}


def notify(event: Event) -> None:
    """Write a delivery for each webhook that wants this event; call it in the transaction that wrote the event."""
    if event.verb not in EVENTS or event.namespace_id is None or _is_private(event):
        return
    here = Q(repository=None) | Q(repository=event.repository_id) if event.repository_id else Q(repository=None)
    wanting = Webhook.objects.filter(here, namespace=event.namespace_id, active=True)
    for webhook in wanting:
        if not webhook.events or event.verb in webhook.events:
            with transaction.atomic():
                deliver(webhook, event.verb, payload_of(event))


def deliver(webhook: Webhook, event: str, payload: dict) -> Delivery:
    """A delivery that is sent after the commit."""
    delivery = Delivery.objects.create(webhook=webhook, event=event, payload=payload)
    outbox.put(TOPIC, delivery=delivery.pk)
    return delivery


def _is_private(event: Event) -> bool:
    """A job that writes nothing into the namespace is its owner's affair, though it reads something of it."""
    if not event.verb.startswith("job."):
        return False
    pk = int(event.object.removeprefix("job "))
    return not Job.objects.filter(pk=pk, output_namespace=event.namespace_id).exists()


def payload_of(event: Event) -> dict:
    """{"event", "at", "namespace", "repository", "object", "actor", "detail"}."""
    return {
        "event": event.verb,
        "at": event.created_at.isoformat(),
        "namespace": event.namespace.name,
        "repository": event.repository.full_name if event.repository else None,
        "object": event.object,
        "actor": event.actor.username if event.actor and event.verb not in NAMELESS else None,
        "detail": {key: event.detail[key] for key in EVENTS[event.verb] if event.detail.get(key) is not None},
    }
