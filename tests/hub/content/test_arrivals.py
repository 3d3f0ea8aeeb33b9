"""Bytes before their commit: proven, bound to who sent them and where to, counted, and let go."""

import hashlib
import io
from datetime import timedelta

import pytest
from django.utils import timezone

from hub.errors import Invalid, QuotaExceeded
from hub.models import Arrival
from hub.queries.quota import LIMITS
from hub.services import arrivals, quotas
from hub.services.content.collection import collect_blobs
from hub.services.content.manifest import Entry
from hub.services.upkeep.garbage import collect_garbage
from hub.storage import blobs
from tests.hub import factories

pytestmark = pytest.mark.django_db
DATA = b"weights " * 1000


def entry_of(data: bytes) -> Entry:
    return Entry(hashlib.sha256(data).hexdigest(), len(data))


def send(user, repository, data: bytes = DATA, entry: Entry | None = None) -> Arrival:
    entry = entry or entry_of(data)
    return arrivals.receive(actor=user, repository=repository, stream=io.BytesIO(data), entry=entry)


def test_what_came_may_be_named_by_who_sent_it_where_it_was_sent(people, repository, store):
    other = factories.make_repository(people.owner, "other", namespace=people.lab)
    send(people.member, repository)
    named = [("w.safetensors", entry_of(DATA).sha256, None)]
    found = arrivals.require(actor=people.member, repository=repository, named=named)
    assert found == {"w.safetensors": entry_of(DATA)}
    for who, where in ((people.owner, repository), (people.member, other)):
        with pytest.raises(arrivals.Unknown):
            arrivals.require(actor=who, repository=where, named=named)
    with pytest.raises(arrivals.Unknown):
        arrivals.require(actor=people.member, repository=repository, named=[("w", entry_of(DATA).sha256, 3)])


@pytest.mark.parametrize(
    ("sent", "code"),
    [(DATA + b"x", "arrival.size"), (DATA[:-1], "arrival.size"), (b"W" + DATA[1:], "arrival.digest")],
    ids=["longer", "shorter", "other"],
)
def test_nothing_is_stored_that_is_not_what_was_announced(people, repository, store, sent, code):
    with pytest.raises(Invalid) as refusal:
        send(people.member, repository, sent, entry_of(DATA))
    assert refusal.value.code == code
    assert not list(blobs.walk())
    assert not Arrival.objects.exists()


def test_a_finished_file_is_taken_over(people, repository, store, tmp_path):
    path = tmp_path / "whole"
    path.write_bytes(DATA)
    arrivals.adopt(actor=people.member, repository=repository, path=path, entry=entry_of(DATA))
    path.unlink()
    assert blobs.open(entry_of(DATA).sha256).read() == DATA
    path.write_bytes(b"other")
    with pytest.raises(Invalid):
        arrivals.adopt(actor=people.member, repository=repository, path=path, entry=entry_of(DATA))


def test_arrivals_count_as_staged_bytes_once(people, repository, store):
    send(people.member, repository)
    send(people.member, repository)
    assert LIMITS["staged_bytes"].count(people.member) == len(DATA)
    root = factories.make_user("root", is_staff=True)
    quotas.set_quota(actor=root, user=people.member, staged_bytes=len(DATA) + 10)
    send(people.member, repository)
    with pytest.raises(QuotaExceeded):
        send(people.member, repository, b"y" * 11)
    arrivals.let_go(actor=people.member, repository=repository, digests=[entry_of(DATA).sha256])
    send(people.member, repository, b"y" * 11)


def test_what_nobody_came_back_for_expires_and_its_bytes_are_collected(people, repository, store, settings):
    settings.KEEP_UPLOADS_DAYS = 3
    send(people.member, repository)
    collect_blobs(grace=timedelta())
    assert list(blobs.walk()) == [entry_of(DATA).sha256]
    Arrival.objects.update(touched_at=timezone.now() - timedelta(days=4))
    assert collect_garbage(grace=timedelta(), dry_run=True).uploads == 1
    assert collect_garbage(grace=timedelta()).uploads == 1
    assert not list(blobs.walk())
