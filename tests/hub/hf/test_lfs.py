"""Git LFS by wire: what need not be sent, signed addresses and what they refuse, parts in any order."""

import base64
import hashlib
import io
import os
from datetime import timedelta

import pytest
from django.core import signing
from django.utils import timezone

from hub.errors import Conflict
from hub.hf.views import lfs as views
from hub.models import Arrival, ChunkStore, Membership, Token
from hub.services import arrivals, quotas
from hub.services.arrivals import stores, transfer_files, transfers
from hub.services.content.manifest import Entry
from hub.storage import blobs
from tests.hub import factories
from tests.hub.hf.wire import Hf, lfs

pytestmark = pytest.mark.django_db
DATA = os.urandom(70_000)


@pytest.fixture
def hf(people, repository, base, store) -> Hf:
    """The writer of `lab` at the empty repository `lab/sentiment`."""
    return Hf(people.member, repository)


def entry_of(data: bytes) -> Entry:
    return Entry(hashlib.sha256(data).hexdigest(), len(data))


def batch(hf: Hf, *entries: Entry, operation: str = "upload", transfers=("basic", "multipart"), **headers: str):
    objects = [{"oid": entry.sha256, "size": entry.size} for entry in entries]
    body = {"operation": operation, "transfers": list(transfers), "objects": objects}
    address = f"/{hf.repository.full_name}.git/info/lfs/objects/batch"
    return hf.http.post(address, body, content_type="application/json", headers=hf.headers | headers)


def action(response, name: str = "upload") -> dict:
    assert response.status_code == 200, response.content
    return response.json()["objects"][0]["actions"][name]


def put(hf: Hf, address: str, data: bytes):
    """As the client sends it: no token, no headers."""
    return hf.http.put(address, data, content_type="application/octet-stream")


def whole(sha256: str) -> bytes:
    with blobs.open(sha256) as stream:
        return stream.read()


@pytest.mark.usefixtures("either_store")
def test_a_file_is_sent_checked_and_committed_and_then_need_not_be_sent(hf, repository):
    entry = entry_of(DATA)
    answer = batch(hf, entry)
    assert answer["Content-Type"] == "application/vnd.git-lfs+json"
    assert answer.json()["transfer"] == "basic"
    assert put(hf, action(answer)["href"], DATA).status_code == 200
    check = {"oid": entry.sha256, "size": entry.size}
    verify = action(answer, "verify")["href"]
    assert hf.http.post(verify, check, content_type="application/json", headers=hf.headers).status_code == 200
    assert whole(entry.sha256) == DATA
    assert "actions" not in batch(hf, entry).json()["objects"][0]
    assert hf.commit(lfs("data.bin", entry.sha256, entry.size)).status_code == 200
    assert "actions" not in batch(hf, entry).json()["objects"][0]
    assert not Arrival.objects.exists()
    assert not ChunkStore.objects.filter(closed_at=None).exists(), "The commit closes what its files came through."


@pytest.mark.usefixtures("either_store")
def test_parts_may_come_in_any_order_and_more_than_once(hf, monkeypatch):
    monkeypatch.setattr(views, "PART", 30_000)
    entry = entry_of(DATA)
    upload = action(batch(hf, entry))
    parts = upload["header"]
    assert sorted(parts) == ["1", "2", "3", "chunk_size"]
    cut = {number: DATA[(number - 1) * 30_000 : number * 30_000] for number in (1, 2, 3)}
    tags = {}
    assert put(hf, parts["2"], bytes(30_000)).status_code == 200, "Sent wrong at first; sent again below."
    for number in (3, 1, 2):
        answer = put(hf, parts[str(number)], cut[number])
        assert answer.status_code == 200
        tags[number] = answer["ETag"]
    told = {"oid": entry.sha256, "parts": [{"partNumber": n, "etag": tags[n]} for n in (1, 2, 3)]}
    few = {**told, "parts": told["parts"][:2]}
    assert hf.http.post(upload["href"], few, content_type="application/json").status_code == 422
    for _ in range(2):  # A client that missed the answer asks again.
        assert hf.http.post(upload["href"], told, content_type="application/json").status_code == 200
    assert whole(entry.sha256) == DATA


@pytest.mark.usefixtures("either_store")
def test_a_file_in_parts_is_only_taken_when_all_of_it_is_right(hf, monkeypatch):
    monkeypatch.setattr(views, "PART", 30_000)
    entry = entry_of(DATA)
    upload = action(batch(hf, entry))
    for number, data in ((1, DATA[:30_000]), (3, DATA[60_000:])):
        put(hf, upload["header"][str(number)], data)
    assert put(hf, upload["header"]["2"], DATA[30_000:59_000]).status_code == 422, "A part that is too short."
    assert put(hf, upload["header"]["2"], DATA[30_000:60_001]).status_code == 422, "One that is too long."
    told = {"oid": entry.sha256, "parts": [{"partNumber": n, "etag": "x"} for n in (1, 2, 3)]}
    refused = hf.http.post(upload["href"], told, content_type="application/json")
    assert refused.status_code == 422
    assert "announced" in refused.json()["error"]
    assert not blobs.exists(entry.sha256)
    assert not Arrival.objects.exists()
    assert ChunkStore.objects.get().bytes == 0


@pytest.mark.usefixtures("either_store")
@pytest.mark.parametrize("sent", [bytes(70_000), DATA[:-1], DATA + b"x", b""], ids=["other", "short", "long", "empty"])
def test_other_bytes_than_were_announced_are_refused_and_leave_nothing(hf, store, sent):
    entry = entry_of(DATA)
    refused = put(hf, action(batch(hf, entry))["href"], sent)
    assert refused.status_code == 422
    assert "announced" in refused.json()["error"] or "were to come" in refused.json()["error"]
    assert not Arrival.objects.exists()
    assert not blobs.exists(entry.sha256)
    assert put(hf, action(batch(hf, entry))["href"], DATA).status_code == 200, "The right ones are welcome after that."
    assert ChunkStore.objects.get().bytes == 0


def test_the_same_file_sent_twice_at_once_is_taken_once(hf):
    """As a client does that commits it under two names: the slower one finds the file complete, and is content."""
    entry = entry_of(DATA)
    href = action(batch(hf, entry))["href"]
    place = ChunkStore.objects.get()
    first = {"store": place, "entry": entry, "most": 70_000, "at": 0, "starts": True}
    assert transfer_files.write(stream=io.BytesIO(DATA[:40_000]), **first) == 40_000
    assert put(hf, href, DATA).status_code == 200
    rest = {**first, "at": 40_000, "most": 30_000, "starts": False}
    assert transfer_files.write(stream=io.BytesIO(DATA[40_000:]), **rest) == 30_000
    assert transfers.complete(store=place, entry=entry) == Arrival.objects.get()
    Arrival.objects.all().delete()
    with pytest.raises(Conflict, match="from its begin"):
        transfer_files.write(stream=io.BytesIO(DATA[40_000:]), **rest)


def test_an_address_is_good_for_its_file_alone(hf):
    href = action(batch(hf, entry_of(DATA)))["href"]
    other = entry_of(b"other")
    moved = href.replace(entry_of(DATA).sha256, other.sha256)
    assert put(hf, moved, b"other").status_code == 404
    assert put(hf, href[:-1] + ("x" if href[-1] != "x" else "y"), DATA).status_code == 403
    assert put(hf, href.split("?")[0], DATA).status_code == 403
    assert not Arrival.objects.exists()


def test_an_address_expires(hf, monkeypatch):
    href = action(batch(hf, entry_of(DATA)))["href"]
    later = signing.time.time() + views.SECONDS + 60
    monkeypatch.setattr(signing.time, "time", lambda: later)
    refused = put(hf, href, DATA)
    assert refused.status_code == 403
    assert "expired" in refused.json()["error"]


def test_who_lost_sight_of_the_repository_or_the_token_sends_nothing_more(hf, people, repository):
    repository.visibility = "private"
    repository.save()
    href = action(batch(hf, entry_of(DATA)))["href"]
    Token.objects.filter(user=people.member).update(revoked_at=timezone.now())
    assert put(hf, href, DATA).status_code == 403
    again = Hf(people.member, hf.repository)
    href = action(batch(again, entry_of(DATA)))["href"]
    Membership.objects.filter(user=people.member).delete()
    assert put(hf, href, DATA).status_code == 403
    assert not Arrival.objects.exists()


def test_nobody_learns_what_others_have_sent_or_hold(hf, people):
    """The same bytes in another repository, or from another user, must be sent all the same."""
    entry = entry_of(DATA)
    put(hf, action(batch(hf, entry))["href"], DATA)
    assert "actions" in batch(Hf(people.owner, hf.repository), entry).json()["objects"][0]
    elsewhere = factories.make_repository(people.owner, "other", namespace=people.lab)
    assert "actions" in batch(Hf(people.member, elsewhere), entry).json()["objects"][0]
    assert Hf(people.owner, hf.repository).commit(lfs("data.bin", entry.sha256, entry.size)).status_code == 422


def test_what_is_held_is_fetched_by_a_signed_address_and_nothing_else(hf, people, repository):
    entry, missing = entry_of(DATA), entry_of(b"missing")
    hf.arrive(DATA)
    hf.commit(lfs("data.bin", entry.sha256, entry.size))
    anyone = Hf(None, repository)
    answer = batch(anyone, entry, missing, operation="download")
    assert answer.json()["objects"][1]["error"]["code"] == 404
    href = action(answer, "download")["href"]
    assert b"".join(hf.http.get(href).streaming_content) == DATA
    assert hf.http.get(href, headers={"Range": "bytes=1-3"}).status_code == 206
    repository.visibility = "private"
    repository.save()
    assert hf.http.get(href).status_code == 403, "Asked again when it is used."


def test_git_lfs_signs_in_with_the_token_as_password(hf):
    secret = hf.headers["Authorization"].removeprefix("Bearer ")
    basic = base64.b64encode(f"member:{secret}".encode()).decode()
    assert batch(hf, entry_of(DATA), Authorization=f"Basic {basic}").status_code == 200
    wrong = base64.b64encode(b"member:nothing").decode()
    assert batch(hf, entry_of(DATA), Authorization=f"Basic {wrong}").status_code == 401
    assert batch(hf, entry_of(DATA), Authorization="Basic %%%").status_code == 401


@pytest.mark.parametrize(
    "objects",
    [None, [1], [{"oid": "../../etc", "size": 1}], [{"oid": "a" * 64, "size": -1}], [{"oid": "a" * 64, "size": True}]],
)
def test_a_batch_that_is_none_is_refused(hf, objects):
    body = {"operation": "upload", "objects": objects, "ref": 3, "transfers": 4}
    address = f"/{hf.repository.full_name}.git/info/lfs/objects/batch"
    answer = hf.http.post(address, body, content_type="application/json", headers=hf.headers)
    assert answer.status_code == 422


def test_bytes_on_their_way_count_for_their_user_until_they_are_forgotten(hf, people, root, settings):
    quotas.set_quota(actor=root, user=people.member, staged_bytes=100_000)
    first, second = entry_of(DATA), entry_of(DATA[::-1])
    hrefs = [action(batch(hf, entry))["href"] for entry in (first, second)]
    put(hf, hrefs[0], DATA)
    refused = put(hf, hrefs[1], DATA[::-1])
    assert refused.status_code == 409
    assert "staged" in refused.json()["error"] or "uploads" in refused.json()["error"]
    later = timezone.now() - timedelta(days=settings.KEEP_UPLOADS_DAYS + 1)
    Arrival.objects.update(touched_at=later)
    ChunkStore.objects.update(touched_at=later)
    store = ChunkStore.objects.get()
    assert stores.folder(store).is_dir()
    assert arrivals.expire() == 2
    assert not stores.folder(store).exists()
    assert put(hf, hrefs[1], DATA[::-1]).status_code == 404, "Its store is gone."
    assert put(hf, action(batch(hf, second))["href"], DATA[::-1]).status_code == 200
