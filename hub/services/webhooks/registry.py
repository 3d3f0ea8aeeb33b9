"""What a namespace's admins do with its webhooks: add, change, remove, try, send again."""

import base64
import secrets
from collections.abc import Sequence

from django.db import transaction
from django.utils import timezone

from hub import access
from hub.errors import Conflict, Invalid
from hub.models import Delivery, DeliveryState, Namespace, Repository, User, Webhook
from hub.sealed import seal
from hub.services import quotas
from hub.services.audit import record
from hub.services.webhooks.addresses import check_url
from hub.services.webhooks.notices import EVENTS, PING, deliver
from hub.services.webhooks.sending import PURPOSE, SECRET

# Nothing more is sent by hand while so many of a webhook's deliveries wait for their first attempt.
MOST_UNTRIED = 20


@transaction.atomic
def add_webhook(
    *, actor: User, namespace: Namespace, url: str, events: Sequence[str] = (), repository: Repository | None = None
) -> tuple[Webhook, str]:
    """A webhook and its secret, which is shown once. `events` empty is all; Invalid `webhook.url`, `webhook.events`."""
    check_url(url)
    if repository is not None and repository.namespace_id != namespace.pk:
        raise Invalid(f"{repository.path} is not in {namespace.name}.", field="repository")
    quotas.require("webhooks", namespace)
    secret = _new_secret()
    webhook = Webhook.objects.create(
        namespace=namespace,
        repository=repository,
        url=url,
        events=_checked(events),
        secret=seal(secret, PURPOSE),
        created_by=actor,
    )
    record(actor, "webhook.add", webhook, namespace=namespace, url=url, events=webhook.events)
    return webhook, secret


@transaction.atomic
def change_webhook(
    *,
    actor: User,
    webhook: Webhook,
    url: str | None = None,
    events: Sequence[str] | None = None,
    active: bool | None = None,
) -> Webhook:
    """Change what is given; switching it on forgets its failures. Who sets the address or switches it on answers for
    it from then on."""
    webhook = _held(webhook.pk)
    if url is not None or active:
        webhook.created_by = actor
    if url is not None:
        check_url(url)
        webhook.url = url
    if events is not None:
        webhook.events = _checked(events)
    if active is not None:
        webhook.active = active
        if active:
            webhook.failures, webhook.stopped = 0, ""
    webhook.save()
    record(
        actor,
        "webhook.change",
        webhook,
        namespace=webhook.namespace,
        url=webhook.url,
        events=webhook.events,
        active=webhook.active,
    )
    return webhook


@transaction.atomic
def renew_secret(*, actor: User, webhook: Webhook) -> str:
    """Another secret, shown once; the old one signs nothing from now on."""
    webhook, secret = _held(webhook.pk), _new_secret()
    Webhook.objects.filter(pk=webhook.pk).update(secret=seal(secret, PURPOSE))
    record(actor, "webhook.secret", webhook, namespace=webhook.namespace)
    return secret


@transaction.atomic
def remove_webhook(*, actor: User, webhook: Webhook) -> None:
    """Remove it with its deliveries; what waits is not sent."""
    webhook = _held(webhook.pk)
    record(actor, "webhook.remove", webhook, namespace=webhook.namespace, url=webhook.url)
    webhook.delete()


@transaction.atomic
def ping(*, actor: User, webhook: Webhook) -> Delivery:
    """Send a trial event; Conflict while it is switched off, or much that was never tried waits."""
    webhook = _held(webhook.pk)
    _require_ready(webhook)
    payload = {"event": PING, "at": timezone.now().isoformat(), "namespace": webhook.namespace.name}
    return deliver(webhook, PING, {**payload, "actor": actor.username})


@transaction.atomic
def redeliver(*, actor: User, delivery: Delivery) -> Delivery:
    """Send an event again, as a delivery of its own with another id; Conflict while the first still waits, and as
    for `ping`."""
    webhook = _held(delivery.webhook_id)
    _require_ready(webhook)
    if delivery.state == DeliveryState.WAITING:
        raise Conflict("This delivery is still being tried; wait for its end.")
    record(actor, "webhook.redeliver", webhook, namespace=webhook.namespace, event=delivery.event)
    return deliver(webhook, delivery.event, delivery.payload)


def _checked(events: Sequence[str]) -> list[str]:
    unknown = sorted(set(events) - set(EVENTS))
    if unknown:
        raise Invalid(
            f"{unknown[0]!r} is no event; choose from {', '.join(EVENTS)}, or none for all.",
            field="events",
            code="webhook.events",
        )
    return [event for event in EVENTS if event in events]


def _held(pk: int) -> Webhook:
    """The webhook as it is now, locked to the end of the transaction; NotFound where it was removed meanwhile."""
    found = Webhook.objects.select_for_update(of=("self",)).select_related("namespace").filter(pk=pk).first()
    if found is None:
        raise access.missing(str(pk), "webhook")
    return found


def _require_ready(webhook: Webhook) -> None:
    """Conflict where it is switched off, or its receiver is too slow for what waits already."""
    if not webhook.active:
        raise Conflict(f"This webhook is switched off. {webhook.stopped or 'Switch it on first.'}")
    untried = Delivery.objects.filter(webhook=webhook, state=DeliveryState.WAITING, attempts=0).count()
    if untried >= MOST_UNTRIED:
        raise Conflict(
            f"{untried} deliveries of this webhook wait for their first attempt; a namespace's are sent one at a time. "
            "Wait until fewer do, and see that the receivers answer quickly.",
            code="webhook.waiting",
        )


def _new_secret() -> str:
    return SECRET + base64.b64encode(secrets.token_bytes(32)).decode()
