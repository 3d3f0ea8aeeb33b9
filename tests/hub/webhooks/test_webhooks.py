"""Webhooks from the event to the receiver: what is sent, how it is signed, what is tried again, and who sees it."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from ipaddress import ip_network

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from hub.errors import Conflict, Invalid, QuotaExceeded
from hub.models import Delivery, Event, Outbox, User, Webhook
from hub.sealed import Unreadable, seal, unseal
from hub.services import accounts, outbox, refs
from hub.services.upkeep.schedule import SCHEDULE
from hub.services.webhooks import exchange, registry, sending
from tests.hub import asking, factories
from tests.hub.api_client import Api
from tests.hub.webhooks.receiver import Receiver, make_certificate

pytestmark = pytest.mark.django_db


@pytest.fixture
def receiver(settings):
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8")]
    made = Receiver().start()
    yield made
    made.stop()


def hook(people, receiver, **options) -> tuple[Webhook, str]:
    url = f"http://127.0.0.1:{receiver.port}/in?x=1"
    return registry.add_webhook(actor=people.owner, namespace=people.lab, url=url, **options)


def drain() -> int:
    """Send everything that waits, however long it should wait."""
    Outbox.objects.filter(sent_at=None).update(next_at=timezone.now())
    return outbox.drain()


@pytest.mark.parametrize("left", ["deactivated", "demoted", "removed", "deleted"])
def test_who_left_is_told_nothing_more_and_another_admin_takes_over(people, receiver, left):
    """Neither of what happens afterwards nor of what still waited."""
    made, _ = hook(people, receiver)
    factories.make_repository(people.owner, "before", namespace=people.lab, visibility="private")
    accounts.set_role(actor=people.owner, namespace=people.lab, user=people.member, role="admin")
    if left == "deactivated":
        User.objects.filter(pk=people.owner.pk).update(is_active=False)
    elif left == "demoted":
        accounts.set_role(actor=people.member, namespace=people.lab, user=people.owner, role="writer")
    elif left == "removed":
        accounts.remove_member(actor=people.member, namespace=people.lab, user=people.owner)
    else:
        Webhook.objects.update(created_by=None)
    drain()
    factories.make_repository(people.member, "after", namespace=people.lab, visibility="private")
    drain()
    assert receiver.came == []
    made.refresh_from_db()
    assert not made.active and "no admin here any more" in made.stopped
    registry.change_webhook(actor=people.member, webhook=made, active=True)
    factories.make_repository(people.member, "later", namespace=people.lab, visibility="private")
    drain()
    assert [json.loads(body)["object"] for _, _, body in receiver.came] == ["lab/later"]


def test_an_event_arrives_signed(people, receiver, base):
    _, secret = hook(people, receiver, events=["publish"])
    version = factories.make_version(people.owner, namespace=people.lab, base=base)
    drain()
    ((path, headers, body),) = receiver.came
    # Standard Webhooks: HMAC-SHA256 over id.timestamp.body, by the bytes behind whsec_.
    key = base64.b64decode(secret.removeprefix("whsec_"))
    said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{mac}"
    assert abs(int(headers["webhook-timestamp"]) - timezone.now().timestamp()) < 60
    assert path == "/in?x=1"
    told = json.loads(body)
    assert told | {"at": ""} == {
        "id": headers["webhook-id"],
        "event": "publish",
        "at": "",
        "namespace": "lab",
        "repository": "lab/sentiment",
        "object": "lab/sentiment",
        "actor": "owner",
        "detail": {"revision": version.revisions.get().oid, "branch": "main", "version": "v1"},
    }
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.status, delivery.answer, delivery.attempts) == ("delivered", 200, "thanks", 1)


def test_each_webhook_gets_what_it_asked_for(people, receiver, base):
    hook(people, receiver, events=["tag.set"])
    one = factories.make_repository(people.owner, "one", namespace=people.lab)
    hook(people, receiver, repository=one)
    elsewhere = factories.make_organisation("guild", admin=people.owner)
    registry.add_webhook(actor=people.owner, namespace=elsewhere, url=f"http://127.0.0.1:{receiver.port}/guild")
    other = factories.make_version(people.owner, "other", namespace=people.lab, base=base)
    refs.set_tag(actor=people.owner, repository=other.repository, name="best", revision=other.revisions.get())
    factories.publish(people.owner, one, factories.adapter_files(), base=base)
    drain()
    told = [json.loads(body) for _, _, body in receiver.came]
    assert [(row["event"], row["repository"]) for row in told] == [("tag.set", "lab/other"), ("publish", "lab/one")]


def test_what_was_rolled_back_is_not_told(people, receiver):
    hook(people, receiver)
    with transaction.atomic():
        accounts.set_role(actor=people.owner, namespace=people.lab, user=people.stranger, role="reader")
        transaction.set_rollback(True)
    drain()
    assert receiver.came == []


def test_jobs_that_write_elsewhere_and_measurements_tell_no_names(people, receiver, base):
    version = factories.make_version(people.owner, namespace=people.lab, base=base)
    hook(people, receiver)
    asking.queue_job(actor=people.owner, kind="try", recipe={"prompt": "x"}, inputs=[version])
    asking.queue_job(actor=people.owner, kind="lego", recipe={"rank": 2}, inputs=[version], output=("lab", "made"))
    drain()
    told = [json.loads(body) for _, _, body in receiver.came]
    assert [(row["event"], row["detail"]) for row in told] == [("job.queue", {"kind": "lego", "output": "lab/made"})]


def test_a_receiver_that_is_down_is_tried_again_with_the_same_id(people, receiver):
    webhook, _ = hook(people, receiver)
    receiver.status, receiver.answer = 500, b"broken \0 \xff"
    registry.ping(actor=people.owner, webhook=webhook)
    for attempt in (1, 2):
        drain()
        delivery = Delivery.objects.get()
        assert (delivery.state, delivery.attempts, delivery.status) == ("waiting", attempt, 500)
    receiver.status = 204
    drain()
    assert Delivery.objects.get().state == "delivered"
    assert len({headers["webhook-id"] for _, headers, _ in receiver.came}) == 1
    assert drain() == 0


def test_it_gives_up_in_the_end_and_a_webhook_that_only_fails_is_switched_off(people, receiver, monkeypatch):
    monkeypatch.setattr(sending, "MOST_ATTEMPTS", 2)
    monkeypatch.setattr(sending, "MOST_FAILURES", 2)
    webhook, _ = hook(people, receiver)
    receiver.status = 404
    for failures in (1, 2):
        registry.ping(actor=people.owner, webhook=webhook)
        drain(), drain()
        webhook.refresh_from_db()
        assert webhook.failures == failures
        assert Delivery.objects.latest("pk").state == "failed"
    assert not webhook.active and "switch it on" in webhook.stopped
    with pytest.raises(Conflict, match="switched off"):
        registry.ping(actor=people.owner, webhook=webhook)
    webhook = registry.change_webhook(actor=people.owner, webhook=webhook, active=True)
    receiver.status = 200
    registry.ping(actor=people.owner, webhook=webhook)
    drain()
    webhook.refresh_from_db()
    assert (webhook.failures, webhook.stopped, Delivery.objects.latest("pk").state) == (0, "", "delivered")


def test_an_event_is_sent_again_by_hand(people, receiver):
    webhook, _ = hook(people, receiver)
    first = registry.ping(actor=people.owner, webhook=webhook)
    with pytest.raises(Conflict, match="still being tried"):
        registry.redeliver(actor=people.owner, delivery=first)
    drain()
    first.refresh_from_db()
    again = registry.redeliver(actor=people.owner, delivery=first)
    drain()
    assert again.key != first.key
    one, other = (json.loads(body) for _, _, body in receiver.came)
    assert one | {"id": ""} == other | {"id": ""}


def test_what_is_sent_by_hand_waits_for_what_was_never_tried(people, receiver, monkeypatch):
    answers = [200]
    monkeypatch.setattr(registry, "MOST_UNTRIED", 2)
    monkeypatch.setattr(sending, "post", lambda delivery: (answers[0], ""))
    webhook, _ = hook(people, receiver)
    done = registry.ping(actor=people.owner, webhook=webhook)
    drain()
    done.refresh_from_db()
    answers[0] = 500
    for _ in range(3):
        registry.ping(actor=people.owner, webhook=webhook)
        drain()
    assert Delivery.objects.filter(state="waiting", attempts__gte=1).count() == 3
    for _ in range(2):
        registry.ping(actor=people.owner, webhook=webhook)
    for act in (
        lambda: registry.ping(actor=people.owner, webhook=webhook),
        lambda: registry.redeliver(actor=people.owner, delivery=done),
    ):
        with pytest.raises(Conflict, match="2 deliveries of this webhook wait") as refusal:
            act()
        assert refusal.value.code == "webhook.waiting"
    answer = Api(people.owner).post(f"/namespaces/lab/webhooks/{webhook.pk}/ping", {})
    assert (answer.status_code, answer.json()["code"]) == (409, "webhook.waiting")
    drain()
    registry.ping(actor=people.owner, webhook=webhook)


def test_a_namespace_s_slow_receivers_hold_up_no_mail_and_no_other_namespace(people, receiver, monkeypatch):
    sent = []
    monkeypatch.setitem(outbox._handlers, "toy", lambda payload, key: sent.append("mail"))
    monkeypatch.setattr(sending, "post", lambda delivery: (sent.append(delivery.webhook.namespace.name), (200, ""))[1])
    guild = factories.make_organisation("guild", admin=people.owner)
    theirs, _ = registry.add_webhook(actor=people.owner, namespace=guild, url=f"http://127.0.0.1:{receiver.port}/g")
    ours = [hook(people, receiver)[0] for _ in range(2)]
    for webhook in [*ours, *ours]:
        registry.ping(actor=people.owner, webhook=webhook)
    registry.ping(actor=people.owner, webhook=theirs)
    with transaction.atomic():
        outbox.put("toy")
    drain()
    assert sent == ["mail", "lab", "guild", "lab", "lab", "lab"]


def test_a_redirect_is_not_followed(people, receiver):
    webhook, _ = hook(people, receiver)
    receiver.status, receiver.headers = 302, {"Location": f"http://127.0.0.1:{receiver.port}/secret"}
    registry.ping(actor=people.owner, webhook=webhook)
    drain()
    assert [path for path, _, _ in receiver.came] == ["/in?x=1"]
    assert Delivery.objects.get().status == 302


def test_a_receiver_that_drips_ends_with_the_deadline(people, receiver, monkeypatch):
    monkeypatch.setattr(exchange, "SECONDS", 1.0)
    receiver.answer, receiver.drip = b"x" * 400, 0.1
    webhook, _ = hook(people, receiver)
    registry.ping(actor=people.owner, webhook=webhook)
    drain()
    assert "within 1 seconds" in Delivery.objects.get().error


@pytest.mark.parametrize(("host", "arrives"), [("localhost", True), ("other.example", False)])
def test_by_tls_the_certificate_is_checked_for_the_hosts_name(people, settings, tmp_path, monkeypatch, host, arrives):
    settings.WEBHOOK_NETWORKS = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
    certificate = make_certificate(tmp_path, host)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setattr(sending, "resolve", lambda parts, **_: "127.0.0.1")
    secure = Receiver().start(certificate)
    url = f"https://localhost:{secure.port}/in"
    webhook, _ = registry.add_webhook(actor=people.owner, namespace=people.lab, url=url)
    registry.ping(actor=people.owner, webhook=webhook)
    drain()
    secure.stop()
    assert bool(secure.came) is arrives
    assert Delivery.objects.get().state == ("delivered" if arrives else "waiting")


def test_who_removes_a_webhook_stops_what_waits(people, receiver):
    webhook, _ = hook(people, receiver)
    registry.ping(actor=people.owner, webhook=webhook)
    registry.remove_webhook(actor=people.owner, webhook=webhook)
    assert drain() == 1
    assert receiver.came == []
    assert Event.objects.filter(verb="webhook.remove", namespace=people.lab).exists()


def test_a_switched_off_webhook_gets_nothing(people, receiver):
    webhook, _ = hook(people, receiver)
    registry.ping(actor=people.owner, webhook=webhook)
    registry.change_webhook(actor=people.owner, webhook=webhook, active=False)
    accounts.set_role(actor=people.owner, namespace=people.lab, user=people.stranger, role="reader")
    drain()
    assert receiver.came == []
    assert Delivery.objects.get().state == "failed"


def test_the_secret_is_stored_sealed_and_a_new_one_signs_from_now_on(people, receiver):
    webhook, secret = hook(people, receiver)
    webhook.refresh_from_db()
    assert secret not in webhook.secret and secret[6:] not in webhook.secret
    assert registry.renew_secret(actor=people.owner, webhook=webhook) != secret


def test_what_was_sealed_is_read_by_the_same_key_for_the_same_purpose(settings):
    sealed = seal("word", "one")
    assert unseal(sealed, "one") == "word"
    with pytest.raises(Unreadable):
        unseal(sealed, "other")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another key, long enough", [settings.SECRET_KEY]
    assert unseal(sealed, "one") == "word"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(Unreadable):
        unseal(sealed, "one")


def test_a_lost_key_is_an_error_of_the_delivery(people, receiver, settings):
    webhook, _ = hook(people, receiver)
    registry.ping(actor=people.owner, webhook=webhook)
    settings.SECRET_KEY = "another key, which is long enough"
    drain()
    assert "secret key" in Delivery.objects.get().error


def test_events_and_number_are_bounded(people, settings):
    def add(**options):
        return registry.add_webhook(actor=people.owner, namespace=people.lab, url="https://ci.example.org/", **options)

    with pytest.raises(Invalid, match="'push' is no event; choose from publish"):
        add(events=["push"])
    settings.QUOTAS = {**settings.QUOTAS, "webhooks": 2}
    for _ in range(2):
        webhook, _ = add()
    with pytest.raises(QuotaExceeded, match="Remove one"):
        add()
    registry.remove_webhook(actor=people.owner, webhook=webhook)
    add()


def test_old_deliveries_go(people, receiver):
    webhook, _ = hook(people, receiver)
    for _ in range(2):
        registry.ping(actor=people.owner, webhook=webhook)
    drain()
    oldest = Delivery.objects.earliest("pk")
    Delivery.objects.filter(pk=oldest.pk).update(ended_at=timezone.now() - timedelta(days=31))
    assert SCHEDULE["deliveries"].run(lambda: True) == "1 deliveries deleted"
    assert not Delivery.objects.filter(pk=oldest.pk).exists()


def test_the_api_from_adding_to_sending_again(people, receiver):
    api, root = Api(people.owner), "/namespaces/lab/webhooks"
    made = api.post(root, {"url": f"http://127.0.0.1:{receiver.port}/", "events": ["publish"]})
    assert made.status_code == 201 and made.json()["secret"].startswith("whsec_")
    one = f"{root}/{made.json()['id']}"
    assert "secret" not in api.get(one).json()
    sent = api.post(f"{one}/ping", {}).json()
    drain()
    (delivery,) = api.get(f"{one}/deliveries").json()["results"]
    assert (delivery["id"], delivery["state"], delivery["answer"]) == (sent["id"], "delivered", "thanks")
    assert api.post(f"{one}/deliveries/{sent['id']}/redeliver", {}).status_code == 201
    changed = api("PATCH", one, {"events": [], "active": False}).json()
    assert (changed["events"], changed["active"]) == ([], False)
    assert api.delete(one).status_code == 204
    assert api.get(one).status_code == 404


def test_the_pages_from_adding_to_sending_again(people, receiver):
    client = Client()
    client.force_login(people.owner)
    page = client.post("/lab/-/webhooks", {"url": f"http://127.0.0.1:{receiver.port}/"})
    assert b"whsec_" in page.content
    assert b"whsec_" not in client.get("/lab/-/webhooks").content
    one = f"/lab/-/webhooks/{Webhook.objects.get().pk}"
    client.post(one, {"act": "ping"})
    drain()
    page = client.get(one).content.decode()
    assert "delivered" in page and "Send again" in page
    client.post(one, {"act": "redeliver", "key": str(Delivery.objects.get().key)})
    assert Delivery.objects.count() == 2
    assert client.post(one, {"act": "redeliver", "key": "x"}).status_code == 302
    refused = client.post("/lab/-/webhooks", {"url": "ftp://example.org"})
    assert refused.status_code == 422 and b"no https address" in refused.content
    assert client.post(one, {"act": "remove"}).headers["Location"] == "/lab/-/webhooks"
    assert not Webhook.objects.exists()
