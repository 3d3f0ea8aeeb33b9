"""Sending one delivery: signed as Standard Webhooks says, in bounded time, to the address that was checked.

https://www.standardwebhooks.com: the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, which is
`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. An answer of 2xx within ten seconds is a success. All else
is tried again by the outbox, and given up after `MOST_ATTEMPTS`.
"""

import base64
import hashlib
import hmac
import json
import time

from django.db.models import F
from django.utils import timezone

from hub.errors import Invalid
from hub.models import Delivery, DeliveryState, Webhook
from hub.sealed import Unreadable, unseal
from hub.services import outbox
from hub.services.webhooks import exchange
from hub.services.webhooks.addresses import Refused, check_url, resolve
from hub.services.webhooks.exchange import NotDelivered
from hub.services.webhooks.notices import ANSWERED, TOPIC, stop_unanswered

PURPOSE = "webhook"
SECRET = "whsec_"
MOST_ATTEMPTS = 12
MOST_FAILURES = 20


@outbox.handles(TOPIC)
def send(payload: dict, key: str) -> None:
    """Make one attempt at a delivery, and record what came of it. Raises NotDelivered where another should follow."""
    delivery = Delivery.objects.select_related("webhook").filter(pk=payload["delivery"]).first()
    if delivery is None:
        # Its webhook was removed; the row is there still if that was while it was written.
        Delivery.objects.filter(pk=payload["delivery"]).delete()
        return
    if delivery.state != DeliveryState.WAITING:
        return
    if not Webhook.objects.filter(ANSWERED, pk=delivery.webhook_id).exists():
        stop_unanswered(delivery.webhook)
        delivery.webhook.refresh_from_db()
    if not delivery.webhook.active:
        _end(delivery, DeliveryState.FAILED, error=f"The webhook is switched off. {delivery.webhook.stopped}".strip())
        return
    start = time.monotonic()
    try:
        status, answer = post(delivery)
    except (Refused, Invalid, NotDelivered, Unreadable) as error:
        found = {"status": None, "answer": "", "error": str(error)[:300]}
    else:
        found = {"status": status, "answer": answer, "error": ""}
    found["milliseconds"] = int((time.monotonic() - start) * 1000)
    delivery.attempts += 1
    if found["status"] is not None and 200 <= found["status"] < 300:
        _end(delivery, DeliveryState.DELIVERED, attempts=delivery.attempts, **found)
        Webhook.objects.filter(pk=delivery.webhook_id).update(failures=0)
        return
    if delivery.attempts >= MOST_ATTEMPTS:
        _end(delivery, DeliveryState.FAILED, attempts=delivery.attempts, **found)
        _count_failure(delivery.webhook)
        return
    Delivery.objects.filter(pk=delivery.pk).update(attempts=delivery.attempts, **found)
    raise NotDelivered(found["error"] or f"the receiver answered {found['status']}")


def post(delivery: Delivery) -> tuple[int, str]:
    """(status, beginning of the answer) of one request. Refused, Invalid, Unreadable, or NotDelivered."""
    webhook, until = delivery.webhook, time.monotonic() + exchange.SECONDS
    parts = check_url(webhook.url)
    body = json.dumps({"id": str(delivery.key), **delivery.payload}, ensure_ascii=False).encode()
    headers = signed(unseal(webhook.secret, PURPOSE), str(delivery.key), int(time.time()), body)
    headers |= {"Host": parts.netloc, "Content-Type": "application/json", "User-Agent": "adapter-hub"}
    headers["Content-Length"] = str(len(body))
    address = resolve(parts, seconds=until - time.monotonic())
    return exchange.exchange(parts, address, headers, body, until=until)


def signed(secret: str, key: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks."""
    mac = hmac.new(key_of(secret), f"{key}.{timestamp}.".encode() + body, hashlib.sha256)
    signature = base64.b64encode(mac.digest()).decode()
    return {"webhook-id": key, "webhook-timestamp": str(timestamp), "webhook-signature": f"v1,{signature}"}


def key_of(secret: str) -> bytes:
    """The bytes of `whsec_…`."""
    return base64.b64decode(secret.removeprefix(SECRET))


def _end(delivery: Delivery, state: str, **values: object) -> None:
    Delivery.objects.filter(pk=delivery.pk).update(state=state, ended_at=timezone.now(), **values)


def _count_failure(webhook: Webhook) -> None:
    """Switch off a webhook whose deliveries keep failing."""
    Webhook.objects.filter(pk=webhook.pk).update(failures=F("failures") + 1)
    why = f"{MOST_FAILURES} deliveries in a row failed. Mend the receiver, then switch it on again."
    Webhook.objects.filter(pk=webhook.pk, failures__gte=MOST_FAILURES, active=True).update(active=False, stopped=why)
