"""LFS files and Xet uploads of a hub with its store in S3: each body may come to another host."""

import hashlib
import io
import os

import pytest
from django.utils import timezone

from hub.errors import Conflict
from hub.hf.views import lfs as views
from hub.models import Arrival, ChunkStore, StagedPart, Transfer
from hub.services import quotas
from hub.services.arrivals import chunks, stores, transfer_parts, transfers
from hub.services.content import staging
from hub.services.content.staging import object_store, writing
from hub.services.content.staging.parts import PartsFile
from hub.storage import blobs
from tests.hub.hf.test_lfs import DATA, action, batch, entry_of, put, whole
from tests.hub.hf.test_xet_uploads import Cas, sha256_of
from tests.hub.hf.wire import Hf, lfs
from tests.hub.xet.writing import File, Xorb

pytestmark = pytest.mark.django_db
PART = 30_000


@pytest.fixture
def hf(people, repository, base, hosts, monkeypatch) -> Hf:
    """The writer of `lab` at the empty repository `lab/sentiment`; parts are small, and so is what the store takes."""
    monkeypatch.setattr(views, "PART", PART)
    monkeypatch.setattr(writing, "PART", 10_000)
    monkeypatch.setattr(object_store, "LEAST_PART", 5_000)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 5_000)
    return Hf(people.member, repository)


def told(entry, count: int) -> dict:
    return {"oid": entry.sha256, "parts": [{"partNumber": n, "etag": "x"} for n in range(1, count + 1)]}


def test_each_part_of_a_file_may_come_to_another_host(hf, hosts):
    entry = entry_of(DATA)
    with hosts.on("A"):
        upload = action(batch(hf, entry))
    for host, number in (("B", 3), ("A", 1), ("C", 2)):
        with hosts.on(host):
            sent = put(hf, upload["header"][str(number)], DATA[(number - 1) * PART : number * PART])
            assert sent.status_code == 200, sent.content
    assert ChunkStore.objects.get().bytes == len(DATA)
    for _ in range(2):  # A client that missed the answer asks again, and reaches another host.
        with hosts.on("D"):
            answer = hf.http.post(upload["href"], told(entry, 3), content_type="application/json")
            assert answer.status_code == 200, answer.content
    assert whole(entry.sha256) == DATA and not hosts.staged()
    assert ChunkStore.objects.get().bytes == 0 and not Transfer.objects.exists()
    assert hf.commit(lfs("data.bin", entry.sha256, entry.size)).status_code == 200


def test_a_part_that_was_cut_and_sent_again_elsewhere_is_taken_once(hf, hosts):
    entry = entry_of(DATA)
    with hosts.on("A"):
        upload = action(batch(hf, entry))
        assert put(hf, upload["header"]["1"], DATA[:25_000]).status_code == 422
    with hosts.on("B"):
        assert put(hf, upload["header"]["1"], DATA[:PART]).status_code == 200
        assert put(hf, upload["header"]["1"], DATA[:17_000]).status_code == 422, "Less than is here takes nothing away."
        for number in (2, 3):
            assert put(hf, upload["header"][str(number)], DATA[(number - 1) * PART : number * PART]).status_code == 200
    with hosts.on("A"):
        answer = hf.http.post(upload["href"], told(entry, 3), content_type="application/json")
        assert answer.status_code == 200, answer.content
    assert whole(entry.sha256) == DATA and not hosts.staged() and not StagedPart.objects.exists()


def test_what_came_in_order_is_not_read_again_and_what_is_wrong_leaves_nothing(hf, hosts, monkeypatch):
    for sent, status in ((DATA, 200), (bytes(len(DATA)), 422)):
        entry = entry_of(DATA if status == 200 else DATA[::-1])
        with hosts.on("A"):
            upload = action(batch(hf, entry))
            for number in (1, 2, 3):
                put(hf, upload["header"][str(number)], sent[(number - 1) * PART : number * PART])
            with monkeypatch.context() as blind:
                blind.setattr(object_store.Bucket, "stream", lambda *_: pytest.fail("read again"))
                answer = hf.http.post(upload["href"], told(entry, 3), content_type="application/json")
        assert answer.status_code == status, answer.content
        assert not hosts.staged() and ChunkStore.objects.get().bytes == 0


def test_a_part_replaced_by_another_host_is_not_taken_for_what_was_seen_here(hf, hosts):
    """This process saw the right bytes; what is in the store by now are others."""
    entry = entry_of(DATA)
    upload = action(batch(hf, entry))
    for number in (1, 2, 3):
        put(hf, upload["header"][str(number)], DATA[(number - 1) * PART : number * PART])
    part = StagedPart.objects.filter(offset=10_000).get()
    other = writing.uuid.uuid4()
    object_store.bucket().put(writing.object_name(other), bytes(part.size))
    StagedPart.objects.filter(pk=part.pk).update(name=other)
    answer = hf.http.post(upload["href"], told(entry, 3), content_type="application/json")
    assert answer.status_code == 422 and not blobs.exists(entry.sha256) and not Arrival.objects.exists()


def test_a_body_that_goes_on_after_the_file_was_completed_elsewhere_is_content(hf, hosts):
    entry = entry_of(DATA)
    href = action(batch(hf, entry))["href"]
    place = ChunkStore.objects.get()
    body = {"store": place, "entry": entry, "begin": 0, "most": len(DATA)}
    came, onward = transfers.receive(**body, at=0, stream=io.BytesIO(DATA[:25_000]), starts=True, goes_on=True)
    assert came == 25_000 and onward.take(25_000, [DATA[25_000:26_000], DATA[26_000:41_000]])
    assert not onward.take(25_000, [b"x"]) and not onward.take(41_000, [bytes(29_001)])
    with hosts.on("B"):
        assert put(hf, href, DATA).status_code == 200
    rest = {"stream": io.BytesIO(DATA[41_000:]), "starts": False, "onward": onward}
    assert transfers.receive(**body, at=41_000, **rest) == (29_000, None)
    assert transfers.complete(store=place, entry=entry) == Arrival.objects.get()
    Arrival.objects.all().delete()
    with pytest.raises(Conflict, match="from its begin"):
        transfers.receive(**body, at=41_000, stream=io.BytesIO(DATA[41_000:]), starts=False)
    assert not hosts.staged()


def test_what_is_left_of_a_transfer_goes_with_its_store(hf, hosts):
    upload = action(batch(hf, entry_of(DATA)))
    put(hf, upload["header"]["1"], DATA[:PART])
    cas = Cas(hf)
    cas.xorb(Xorb([os.urandom(20_000)]))
    assert len(hosts.staged()) == 5
    later = timezone.now() + timezone.timedelta(days=30)
    assert not list(staging.strays(later)), "All of it has rows."
    ChunkStore.objects.update(touched_at=later - timezone.timedelta(days=60))
    assert stores.expire() == 1
    assert not hosts.staged() and not Transfer.objects.exists()


@pytest.mark.parametrize("full", [False, True])
def test_xorbs_of_one_host_become_files_on_another(hf, hosts, monkeypatch, full):
    monkeypatch.setattr(chunks, "FULL", 1 if full else 1 << 20)
    one, two = (Xorb([os.urandom(20_000) for _ in range(6)]) for _ in range(2))
    files = [File([(one, 0, 6)]), File([(one, 1, 6), (two, 0, 3)]), File([(two, 5, 6), (one, 0, 1), (two, 0, 1)])]
    with hosts.on("A"):
        cas = Cas(hf)
        assert cas.xorb(one).json() == {"was_inserted": True}
    with hosts.on("B"):
        assert cas.xorb(one).json() == {"was_inserted": False}
        assert cas.xorb(two).json() == {"was_inserted": True}
        assert Cas(hf).root == cas.root, "The address is the same on all hosts."
    with hosts.on("C"):
        answer = cas.shard(*files, xorbs=(one, two))
        assert answer.status_code == 200, answer.content
    for file in files:
        assert blobs.open(sha256_of(file)).read() == file.data
    for number, file in enumerate(files):
        assert hf.commit(lfs(f"data{number}.bin", sha256_of(file), len(file.data))).status_code == 200
    ChunkStore.objects.update(touched_at=timezone.now() - stores.QUIET * 2, closed_at=timezone.now() - stores.QUIET * 2)
    assert stores.sweep_closed() == 1 and not hosts.staged()


def test_a_shard_that_lies_makes_no_blob(hf, hosts):
    xorb = Xorb([os.urandom(20_000) for _ in range(6)])
    wrong = hashlib.sha256(b"wrong")
    with hosts.on("A"):
        cas = Cas(hf)
        cas.xorb(xorb)
    with hosts.on("B"):
        assert cas.shard(File([(xorb, 0, 6)], sha256=wrong.digest())).status_code == 400
        assert cas.shard(File([(xorb, 1, 6)], sha256=wrong.digest())).status_code == 400
    assert not list(blobs.walk()) and not Arrival.objects.exists()


def test_a_whole_file_counts_once_against_its_users_share(hf, hosts, root):
    """What was charged when it began is not asked for again when it is complete."""
    entry = entry_of(DATA)
    quotas.set_quota(actor=root, user=hf.user, staged_bytes=len(DATA) + 10)
    upload = action(batch(hf, entry))
    for number in (1, 2, 3):
        assert put(hf, upload["header"][str(number)], DATA[(number - 1) * PART : number * PART]).status_code == 200
    answer = hf.http.post(upload["href"], told(entry, 3), content_type="application/json")
    assert answer.status_code == 200, answer.content
    assert whole(entry.sha256) == DATA and ChunkStore.objects.get().bytes == 0


def test_who_asks_again_while_the_file_is_completed_hears_that_it_is(hf, hosts, monkeypatch):
    """A client whose first question timed out: the other request is done, and its parts are gone."""
    entry = entry_of(DATA)
    upload = action(batch(hf, entry))
    for number in (1, 2, 3):
        put(hf, upload["header"][str(number)], DATA[(number - 1) * PART : number * PART])
    transfer_parts._known.clear()
    place, digest = ChunkStore.objects.get(), PartsFile.digest

    def slow(file) -> str:
        monkeypatch.setattr(PartsFile, "digest", digest)
        transfers.complete(store=place, entry=entry)
        return digest(file)

    monkeypatch.setattr(PartsFile, "digest", slow)
    assert transfers.complete(store=place, entry=entry) == Arrival.objects.get()
    assert whole(entry.sha256) == DATA and not hosts.staged()
