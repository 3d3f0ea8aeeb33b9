"""From an audit event to deliveries, in the event's own transaction.

A payload says what a namespace's admins may read in their audit log, and no more: of each verb's detail only the
listed keys go out, since a job or a measurement may be about what they can't see.
"""

from dataclasses import dataclass

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from hub.models import Delivery, Event, Job, Membership, Role, Webhook
from hub.services import outbox


@dataclass(frozen=True, slots=True)
class Told:
    """The keys of an event's detail that a payload has; `nameless` leaves out its actor, whom not everyone may know."""

    keys: tuple[str, ...] = ()
    nameless: bool = False


TOPIC = "webhook"
PING = "ping"
EVENTS: dict[str, Told] = {
    "publish": Told(("revision", "branch", "version")),
    "tag.set": Told(("tag", "revision")),
    "tag.delete": Told(("tag",)),
    "branch.create": Told(("branch", "revision")),
    "branch.delete": Told(("branch",)),
    "repository.create": Told(("kind", "visibility")),
    "repository.update": Told(("visibility", "gate")),
    "repository.delete": Told(),
    "repository.restore": Told(),
    "repository.purge": Told(),
    "repository.import": Told(("revisions",)),
    "repository.move": Told(("before", "after")),
    "pull.open": Told(("number", "target")),
    "pull.push": Told(("number", "revision")),
    "pull.merge": Told(("number", "revision", "version")),
    "pull.close": Told(("number",)),
    "pull.reopen": Told(("number",)),
    "access.ask": Told(("user",)),
    "companion.add": Told(("companion", "visibility")),
    "companion.visibility": Told(("companion", "visibility")),
    "companion.remove": Told(("companion",)),
    "evaluate": Told(nameless=True),
    "job.queue": Told(("kind", "output")),
    "job.done": Told(("kind",)),
    "job.failed": Told(("kind", "code")),
    "job.cancel": Told(("kind",)),
    "member.set": Told(("user", "role")),
    "member.remove": Told(("user",)),
}
"""Verb of the audit log → what a payload tells of it."""


# Whether the user who answers for a webhook is active and still an admin of its namespace.
ANSWERED = Exists(
    Membership.objects.filter(
        namespace=OuterRef("namespace"), user=OuterRef("created_by"), user__is_active=True, role=Role.ADMIN
    )
)


def notify(event: Event) -> None:
    """Write a delivery for each webhook that wants this event; call it in the transaction that wrote the event."""
    told = EVENTS.get(event.verb)
    if told is None or event.namespace_id is None or _is_private(event):
        return
    here = Q(repository=None) | Q(repository=event.repository_id) if event.repository_id else Q(repository=None)
    wanting = Webhook.objects.filter(here, namespace=event.namespace_id, active=True).annotate(answered=ANSWERED)
    for webhook in wanting.order_by("pk"):
        if not webhook.answered:
            stop_unanswered(webhook)
        elif not webhook.events or event.verb in webhook.events:
            with transaction.atomic():
                deliver(webhook, event.verb, payload_of(event))


def stop_unanswered(webhook: Webhook) -> None:
    """Switch off a webhook whose admin has left: what they set up must not go on telling them."""
    why = "Whoever set this up is no admin here any more. Check the address, then switch it on: you answer for it then."
    Webhook.objects.filter(pk=webhook.pk, active=True).update(active=False, stopped=why)


def deliver(webhook: Webhook, event: str, payload: dict) -> Delivery:
    """A delivery that is sent after the commit, when its namespace has its turn."""
    delivery = Delivery.objects.create(webhook=webhook, event=event, payload=payload)
    outbox.put(TOPIC, lane=f"{TOPIC} {webhook.namespace_id}", delivery=delivery.pk)
    return delivery


def _is_private(event: Event) -> bool:
    """A job that writes nothing into the namespace is its owner's affair, though it reads something of it."""
    if not event.verb.startswith("job."):
        return False
    pk = int(event.object.removeprefix("job "))
    return not Job.objects.filter(pk=pk, output_namespace=event.namespace_id).exists()


def payload_of(event: Event) -> dict:
    """{"event", "at", "namespace", "repository", "object", "actor", "detail"}."""
    told = EVENTS[event.verb]
    return {
        "event": event.verb,
        "at": event.created_at.isoformat(),
        "namespace": event.namespace.name,
        "repository": event.repository.path if event.repository else None,
        "object": event.object,
        "actor": event.actor.username if event.actor and not told.nameless else None,
        "detail": {key: event.detail[key] for key in told.keys if event.detail.get(key) is not None},
    }
