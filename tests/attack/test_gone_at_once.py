"""One deletes what another needs, at the same moment: no fault of ours, and nothing half done.

PostgreSQL looks at foreign keys at the commit, when both sides have done their work. Run on whatever database the tests
have; `tests/hub/test_postgres.py` runs this file again on PostgreSQL.
"""

import json
import threading
import uuid

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from hub.errors import Conflict, NotFound, conflict_of
from hub.models import Delivery, Membership, Outbox, Token, User, Webhook
from hub.services import accounts, outbox, repositories, tokens
from hub.services.webhooks import notices, registry, sending
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.test_parallel import at_once, ready
from workers.patience import patiently

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]
NOBODY = 2**40


class Moment:
    """Holds one who is inside of a transaction until another is done, or for a while where that one has to wait."""

    def __init__(self) -> None:
        self.begun, self.done = threading.Event(), threading.Event()

    def inside(self, act):
        """`act`, and then the wait."""

        def held(*args, **named):
            answer = act(*args, **named)
            self.begun.set()
            self.done.wait(0.4)
            return answer

        return held

    def meanwhile(self, act):
        """Do `act` while the other waits."""

        def do():
            self.begun.wait(30)
            try:
                return act()
            finally:
                self.done.set()

        return do


def test_who_publishes_does_not_notice_that_a_webhook_is_removed(people, repository, monkeypatch):
    url = "https://ci.example.org/"
    webhook, _ = registry.add_webhook(actor=people.owner, namespace=people.lab, url=url)
    api, moment = Api(people.owner), Moment()
    commit = ready(people.owner, repository, {"README.md": b"# New"})
    monkeypatch.setattr(notices, "deliver", moment.inside(notices.deliver))
    monkeypatch.setattr(sending, "post", lambda delivery: pytest.fail("nothing is sent to a removed webhook"))
    remove = moment.meanwhile(lambda: api.delete(f"/namespaces/lab/webhooks/{webhook.pk}"))
    published, removed = at_once(commit, remove)
    assert not isinstance(published, Exception), published
    assert published.created and removed.status_code == 204
    assert not Webhook.objects.exists()
    outbox.drain()
    assert not Delivery.objects.exists() and not Outbox.objects.filter(sent_at=None).exists()


def test_a_token_for_what_is_deleted_for_good_is_a_conflict_or_goes_with_it(people, repository, monkeypatch):
    repositories.delete_repository(actor=people.owner, repository=repository)
    people.lab.memberships.filter(user=people.member).update(role="admin")
    moment, api, other = Moment(), Api(people.owner), Api(people.member)
    monkeypatch.setattr(tokens, "_place", lambda *_: {"repository": repository})
    monkeypatch.setattr(tokens, "record", moment.inside(tokens.record))
    made, purged = at_once(
        lambda: api.post("/tokens", {"name": "t", "repository": "lab/sentiment"}),
        moment.meanwhile(lambda: other.post("/repositories/lab/sentiment/purge")),
    )
    assert made.status_code in (201, 409) and purged.status_code == 204, (made.content, purged.content)
    assert not Token.objects.filter(repository__isnull=False).exists()


def a_row_of_nobody() -> None:
    """Refers to a namespace that is gone; the database says so at the commit."""
    with transaction.atomic():
        user = User.objects.get(username="stranger")
        Membership.objects.create(namespace_id=NOBODY, user=user, role="reader")


def a_row_that_is_needed() -> None:
    factories.make_repository(User.objects.get(username="owner"), f"kept{uuid.uuid4().hex}").namespace.delete()


def a_row_that_was_deleted() -> None:
    User.objects.get(pk=NOBODY)


def a_change_of_a_deleted_row() -> None:
    User(pk=NOBODY, username="gone").save(update_fields=["email"])


@pytest.mark.parametrize(
    "act", [a_row_of_nobody, a_row_that_is_needed, a_row_that_was_deleted, a_change_of_a_deleted_row]
)
def test_what_no_service_foresaw_is_a_conflict_at_both_doors(people, monkeypatch, act):
    api, browser = Api(people.owner), Client(raise_request_exception=False)
    browser.force_login(people.owner)
    monkeypatch.setattr(accounts, "create_organisation", lambda **_: act())
    answers = [api.post("/organisations", {"name": "x"}), browser.post("/organisations", {"name": "x"})]
    assert [answer.status_code for answer in answers] == [409, 409], answers[0].content
    assert json.loads(answers[0].content)["code"] == "conflict"
    assert all("deleted at this moment" in answer.content.decode() for answer in answers)


def test_other_errors_of_rows_stay_ours(people):
    with pytest.raises(User.second_factor.RelatedObjectDoesNotExist) as missing:
        people.owner.second_factor  # noqa: B018
    assert conflict_of(missing.value) is None
    assert conflict_of(IntegrityError("NOT NULL constraint failed")) is None
    assert conflict_of(Conflict("x")) is None


def test_a_worker_s_write_is_tried_again_without_what_was_deleted(people):
    tries = []

    def write() -> str:
        tries.append(len(tries))
        if len(tries) == 1:
            a_row_of_nobody()
        return "written"

    assert patiently(threading.Event(), write) == "written"
    assert tries == [0, 1]


def test_every_act_on_a_removed_webhook_finds_none(people):
    url = "https://ci.example.org/"
    webhook, _ = registry.add_webhook(actor=people.owner, namespace=people.lab, url=url)
    delivery = registry.ping(actor=people.owner, webhook=webhook)
    Delivery.objects.update(state="failed")
    delivery.refresh_from_db()
    Webhook.objects.all().delete()
    asked = {"actor": people.owner, "webhook": webhook}
    for act in (
        lambda: registry.ping(**asked),
        lambda: registry.renew_secret(**asked),
        lambda: registry.change_webhook(**asked, active=True),
        lambda: registry.remove_webhook(**asked),
        lambda: registry.redeliver(actor=people.owner, delivery=delivery),
    ):
        with pytest.raises(NotFound):
            act()
    assert not Webhook.objects.exists() and not Delivery.objects.exists()
