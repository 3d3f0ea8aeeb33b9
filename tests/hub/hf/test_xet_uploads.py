"""Xet by wire: chunks become whole files, and nothing else does. tests/hub/xet tests the parsers."""

import hashlib
import json
import os
import shutil
from datetime import timedelta

import pytest
from django.core import signing
from django.test import Client
from django.utils import timezone

from hub.hf.views import xet as views
from hub.models import Arrival, ChunkStore, Membership
from hub.services import arrivals, quotas
from hub.services.arrivals import chunks, stores
from hub.storage import blobs
from tests.hub import factories
from tests.hub.hf.wire import Hf, lfs
from tests.hub.xet.writing import File, Xorb, header, shard, turned

pytestmark = pytest.mark.django_db
CHUNKS = [os.urandom(20_000) for _ in range(6)]
XORB = Xorb(CHUNKS)
FILE = File([(XORB, 0, 6)])


class Cas:
    """The address of chunks as the client uses it, with the token that it got for there."""

    def __init__(self, hf: Hf, rev: str = "main") -> None:
        answer = hf.get(f"/xet-write-token/{rev}")
        assert answer.status_code == 200, answer.content
        self.told, self.answer, self.http = answer.json(), answer, Client(raise_request_exception=False)
        self.root = self.told["casUrl"].removeprefix("http://testserver")
        self.headers = {"Authorization": f"Bearer {self.told['accessToken']}"}

    def post(self, path: str, body: bytes):
        kind = "application/octet-stream"
        return self.http.post(f"{self.root}{path}", body, content_type=kind, headers=self.headers)

    def xorb(self, xorb: Xorb, name: str = "", body: bytes | None = None):
        return self.post(f"/v1/xorbs/default/{name or named(xorb)}", xorb.body if body is None else body)

    def shard(self, *files: File, xorbs: tuple[Xorb, ...] = (), version: int = 2):
        return self.post(f"/v{version}/shards", shard(list(files), list(xorbs)))

    @property
    def store(self) -> ChunkStore:
        return ChunkStore.objects.get(pk=self.root.split("/")[-1])


def named(xorb: Xorb) -> str:
    return turned(xorb.hash).hex()


def sha256_of(file: File) -> str:
    return hashlib.sha256(file.data).hexdigest()


@pytest.fixture
def hf(people, repository, base, store) -> Hf:
    """The writer of `lab` at the empty repository `lab/sentiment`."""
    return Hf(people.member, repository)


@pytest.fixture
def cas(hf) -> Cas:
    """That writer's address of chunks."""
    return Cas(hf)


def test_the_client_is_told_where_to_send_chunks_in_json_and_in_headers(cas):
    headers = [cas.answer[f"X-Xet-{name}"] for name in ("Cas-Url", "Access-Token", "Token-Expiration")]
    assert headers == [cas.told["casUrl"], cas.told["accessToken"], str(cas.told["exp"])]
    assert cas.told["casUrl"].startswith("http://testserver/xet/")


def test_chunks_become_the_file_that_the_commit_names(hf, cas):
    assert cas.xorb(XORB).json() == {"was_inserted": True}
    assert cas.xorb(XORB).json() == {"was_inserted": False}
    assert cas.store.bytes == 120_000
    answer = cas.shard(FILE, xorbs=(XORB,))
    assert answer.status_code == 200, answer.content
    assert [json.loads(line) for line in answer.content.splitlines()] == [{"type": "result", "result": 1}]
    sha256 = sha256_of(FILE)
    with blobs.open(sha256) as stream:
        assert stream.read() == FILE.data
    assert cas.store.bytes == 0, "The xorb's bytes are in the blob; they don't lie on the disk twice."
    assert hf.commit(lfs("data.bin", sha256, 120_000)).status_code == 200
    assert Cas(hf).root != cas.root, "What is committed closes the address."


@pytest.mark.parametrize("full", [False, True])
def test_a_file_that_is_one_xorb_becomes_the_blob_without_a_copy(cas, monkeypatch, full):
    if full:
        monkeypatch.setattr(chunks, "FULL", 100)
    cas.xorb(XORB)
    there = next(stores.folder(cas.store).glob("xorbs/*.run" if full else "xorbs/*.raw")).stat().st_ino
    assert cas.shard(FILE).status_code == 200
    assert blobs.local_path(sha256_of(FILE)).stat().st_ino == there
    assert cas.store.bytes == 0 and not list(stores.folder(cas.store).glob("xorbs/*.r[au]*"))
    assert blobs.open(sha256_of(FILE)).read() == FILE.data
    # A part of it is not it, and finds its chunks in the blob.
    assert cas.shard(part := File([(XORB, 0, 5)])).status_code == 200
    assert blobs.open(sha256_of(part)).read() == FILE.data[:100_000]


def test_later_files_take_chunks_of_earlier_ones(hf, cas):
    more = Xorb([os.urandom(9_000), os.urandom(20_000)])
    cas.xorb(XORB)
    cas.shard(FILE)
    cas.xorb(more)
    mixed = File([(XORB, 4, 6), (more, 0, 1), (XORB, 0, 2), (more, 1, 2)])
    assert cas.shard(mixed, version=1).json() == {"result": 1}
    with blobs.open(sha256_of(mixed)) as stream:
        assert stream.read() == mixed.data
    assert cas.store.bytes == 29_000


@pytest.mark.usefixtures("either_store")
def test_a_shard_sent_again_makes_its_file_once(cas, monkeypatch):
    cas.xorb(XORB)
    made, rebuild = [], chunks.rebuild
    monkeypatch.setattr(chunks, "rebuild", lambda *args, **more: made.append(1) or rebuild(*args, **more))
    assert [cas.shard(FILE).status_code for _ in range(3)] == [200, 200, 200]
    assert made == [1] and Arrival.objects.get().blob_id == sha256_of(FILE)


@pytest.mark.usefixtures("either_store")
def test_an_empty_file_needs_no_chunk(cas):
    assert cas.shard(File([])).status_code == 200
    assert Arrival.objects.get().blob.size == 0


@pytest.mark.parametrize("body", [b"", XORB.body[:-1], XORB.body[:30_000], header(500, 1, 200_000) + bytes(500)])
def test_a_xorb_that_is_not_what_it_says_is_refused_and_not_kept(cas, body):
    assert cas.xorb(XORB, body=body).status_code == 400
    assert cas.xorb(XORB, name="f" * 64).status_code == 400
    assert cas.xorb(XORB, name="no-hash").status_code == 400
    assert not any(stores.folder(cas.store).rglob("*.*"))
    assert cas.store.bytes == 0


@pytest.mark.parametrize(
    "file",
    [
        File([(Xorb([os.urandom(9_000)]), 0, 1)]),
        File([(XORB, 0, 6)], sha256=bytes(range(32))),
        File([(XORB, 0, 6)], hash=bytes(range(32))),
        File([(XORB, 0, 6)], changed={0: {"verification": bytes(32)}}),
        File([(XORB, 0, 6)], changed={0: {"length": 120_001}}),
    ],
    ids=["absent", "sha256", "hash", "verification", "length"],
)
def test_a_shard_that_makes_no_proven_file_is_refused_and_the_next_upload_goes_elsewhere(hf, cas, file):
    cas.xorb(XORB)
    refused = cas.shard(file)
    assert refused.status_code == 400
    assert "gain" in refused.json()["error"] or "ytes" in refused.json()["error"]
    assert not Arrival.objects.exists()
    assert not list(blobs.walk())
    fresh = Cas(hf)
    assert fresh.root != cas.root, "A client remembers what the old address has; it must get another."
    fresh.xorb(XORB)
    assert fresh.shard(FILE).status_code == 200


def test_nobody_uses_the_chunks_of_others(hf, people, cas):
    """Another user, another repository: another store, whose terms find nothing of the first."""
    cas.xorb(XORB)
    elsewhere = factories.make_repository(people.owner, "other", namespace=people.lab)
    for other in (Cas(Hf(people.owner, hf.repository)), Cas(Hf(people.member, elsewhere))):
        assert other.root != cas.root
        theirs = Client(raise_request_exception=False).post(
            f"{cas.root}/v1/xorbs/default/{named(XORB)}",
            XORB.body,
            content_type="application/octet-stream",
            headers=other.headers,
        )
        assert theirs.status_code == 404, "A token is for its own user's stores of its own repository."
        assert other.shard(FILE).status_code == 400
    chunks = Client().get(f"{cas.root}/v1/chunks/default/{'0' * 64}", headers=cas.headers)
    assert chunks.status_code == 404


def test_tokens_expire_and_are_asked_again(hf, people, cas, monkeypatch):
    with monkeypatch.context() as patched:
        later = signing.time.time() + views.SECONDS + 60
        patched.setattr(signing.time, "time", lambda: later)
        assert cas.xorb(XORB).status_code == 401, "The client asks for another one and goes on."
    Membership.objects.filter(user=people.member).delete()
    assert cas.xorb(XORB).status_code == 401
    cas.headers = hf.headers
    assert cas.xorb(XORB).status_code == 401, "The user's own token is none for here."


def test_a_store_whose_bytes_were_swept_is_not_given_again(hf, cas):
    cas.xorb(XORB)
    assert Cas(hf).root == cas.root, "While it is open, a new process goes on where the old one was cut."
    shutil.rmtree(stores.folder(cas.store))
    fresh = Cas(hf)
    assert fresh.root != cas.root
    fresh.xorb(XORB)
    assert fresh.shard(FILE).status_code == 200


def test_a_blob_that_was_collected_takes_its_xorbs_with_it(hf, cas):
    cas.xorb(XORB)
    cas.shard(FILE)
    Arrival.objects.all().delete()
    blobs.delete(sha256_of(FILE))
    assert cas.xorb(XORB).json() == {"was_inserted": True}
    assert cas.shard(FILE).status_code == 200


def test_xorbs_count_for_their_user_and_closed_stores_make_room(hf, people, root, cas):
    quotas.set_quota(actor=root, user=people.member, staged_bytes=150_000)
    other = Xorb([os.urandom(20_000) for _ in range(6)])
    assert cas.xorb(XORB).status_code == 200
    refused = cas.xorb(other)
    assert refused.status_code == 409
    assert not (stores.folder(cas.store) / "xorbs" / f"{named(other)}.raw").exists()
    stores.close(cas.store)
    ago = timezone.now() - timedelta(minutes=2)
    ChunkStore.objects.update(closed_at=ago, touched_at=ago)
    fresh = Cas(hf)
    assert fresh.xorb(other).status_code == 200
    assert ChunkStore.objects.get() == fresh.store


def test_an_upload_under_way_goes_on_in_a_closed_store_and_a_quiet_one_goes(hf, cas):
    cas.xorb(XORB)
    stores.close_all(actor=hf.user, repository=hf.repository)
    assert cas.shard(FILE).status_code == 200
    assert arrivals.expire() == 0
    ago = timezone.now() - timedelta(hours=1)
    ChunkStore.objects.update(closed_at=ago, touched_at=ago)
    assert arrivals.expire() == 1
    assert cas.xorb(XORB).status_code == 404
    assert not ChunkStore.objects.exists()


def test_a_reader_may_send_chunks_for_a_pull_request_and_for_nothing_else(people, hf):
    reader = Hf(people.reader, hf.repository)
    assert reader.get("/xet-write-token/main").status_code == 403
    answer = reader.get("/xet-write-token/None?create_pr=1")
    assert answer.status_code == 200
    assert Hf(None, hf.repository).get("/xet-write-token/None?create_pr=1").status_code == 401


def test_downloads_go_by_plain_http(hf):
    hf.push({"notes.txt": b"x"})
    answer = hf.get("/xet-read-token/main")
    assert answer.status_code == 200
    root = answer.json()["casUrl"].removeprefix("http://testserver")
    assert hf.http.post(f"{root}/v1/shards", b"", content_type="x/y").status_code == 401
