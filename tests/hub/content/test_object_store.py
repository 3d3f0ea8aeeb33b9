"""The blob store in S3: bytes are sent once, proven on their way and read by ranges; found again, they are young."""

import contextlib
import hashlib
import io
import os
import time
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from django.utils import timezone

from hub import faults
from hub.models import Blob
from hub.services.content.collection import collect_blobs
from hub.storage import blobs, client, objects

SMALL = b"weights " * 1000
LARGE = os.urandom(20 << 20)  # three parts
pytestmark = pytest.mark.usefixtures("bucket")


def sent(bucket) -> int:
    """Requests that send bytes of blobs."""
    return len(bucket.of("PutObject")) + len(bucket.of("UploadPart"))


def left_over(bucket) -> list:
    return bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])


@pytest.mark.parametrize("data", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_what_is_stored_comes_back_and_is_sent_once(bucket, tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    stored = blobs.put(io.BytesIO(data))
    once = sent(bucket)
    assert once == max(1, -(-len(data) // client.PART))
    assert blobs.put(io.BytesIO(data)) == blobs.add(tmp_path / "file") == stored
    assert blobs.add(tmp_path / "file", known=stored) == stored
    blobs.put_proven([data], stored[0])
    assert sent(bucket) == once
    assert (blobs.size(stored[0]), list(blobs.walk())) == (len(data), [stored[0]])
    with blobs.open(stored[0]) as stream:
        assert stream.read() == data
    assert not left_over(bucket)


def test_a_stream_waits_for_its_digest_in_no_named_file(settings):
    blobs.put(io.BytesIO(LARGE))
    assert list(settings.UPLOAD_FOLDER.iterdir()) == []


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_bytes_that_are_not_what_they_are_called_are_never_stored(bucket, tmp_path, data):
    wrong = hashlib.sha256(b"other").hexdigest()
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(objects.WrongBytes):
        blobs.add(tmp_path / "file", known=(wrong, len(data)))
    with pytest.raises(objects.WrongBytes):
        blobs.put_proven([data[:1000], data[1000:]], wrong)
    assert not blobs.exists(wrong) and not left_over(bucket)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_blocks_that_break_off_store_nothing(bucket, data):
    def blocks():
        yield data[:-10]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        blobs.put_proven(blocks(), hashlib.sha256(data).hexdigest())
    assert list(blobs.walk()) == [] and not left_over(bucket)


def test_blocks_of_what_is_there_are_read_all_the_same():
    """Their maker proves on the way that who names them has them."""
    sha256, _ = blobs.put(io.BytesIO(SMALL))

    def blocks():
        yield SMALL
        raise RuntimeError("not yours")

    with pytest.raises(RuntimeError, match="not yours"):
        blobs.put_proven(blocks(), sha256)


def test_what_a_refusal_stopped_is_not_sent(bucket):
    def refuse(sha256, size):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        blobs.put(io.BytesIO(SMALL), accept=refuse)
    assert sent(bucket) == 0


def test_ranges_of_a_large_object_cost_what_they_read(bucket):
    sha256, _ = blobs.put(io.BytesIO(LARGE))
    bucket.asked.clear()
    for start in (0, 5 << 20, 19 << 20):
        with blobs.open(sha256) as stream:
            stream.seek(start)
            assert stream.read(100) == LARGE[start : start + 100]
    assert bucket.bytes_read() < 1 << 20


def test_bytes_found_again_become_young_without_being_sent(bucket, monkeypatch, db):
    sha256, size = blobs.put(io.BytesIO(LARGE))
    Blob.objects.create(sha256=sha256, size=size)
    stored = blobs.modified(sha256)
    time.sleep(1)  # what the store's clock counts in
    monkeypatch.setattr(objects, "YOUNG", timedelta(0))
    bucket.asked.clear()
    blobs.put(io.BytesIO(LARGE))
    assert [params["Body"] for params in bucket.of("PutObject")] == [b""] and not bucket.of("UploadPart")
    assert blobs.modified(sha256) > stored
    assert list(blobs.walk()) == [sha256], "a mark is no blob"


def test_collecting_takes_bytes_and_their_mark_and_sweeps_old_marks(bucket, monkeypatch, db):
    monkeypatch.setattr(objects, "YOUNG", timedelta(0))
    for data in (b"with a row", b"without") * 2:
        sha256, size = blobs.put(io.BytesIO(data))
        if size == 10:
            Blob.objects.get_or_create(sha256=sha256, size=size)
    assert blobs.sweep_incoming(timezone.now() + timedelta(seconds=5), dry_run=True) == 0
    assert len(keys(bucket)) == 4
    assert collect_blobs(grace=timedelta(seconds=-5)).files == 2
    assert keys(bucket) == []


def test_what_killed_processes_began_to_send_is_swept(bucket):
    sha256 = hashlib.sha256(LARGE).hexdigest()
    place = {"Bucket": bucket.name, "Key": f"hub/{blobs.name(sha256)}"}
    bucket.client.create_multipart_upload(**place)
    bucket.client.create_multipart_upload(**place | {"Key": "hub/of-somebody-else"})
    soon = timezone.now() + timedelta(seconds=5)
    assert blobs.sweep_incoming(soon, dry_run=True) == 1 == blobs.sweep_incoming(soon)
    assert [row["Key"] for row in left_over(bucket)] == ["hub/of-somebody-else"]


def keys(bucket) -> list[str]:
    return [row["Key"] for row in bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", [])]


def test_a_missing_bucket_is_no_store_without_bytes(bucket):
    bucket.client.delete_bucket(Bucket=bucket.name)
    with pytest.raises(ClientError):
        blobs.require()
    with pytest.raises(ClientError):
        blobs.open("0" * 64)


@pytest.mark.parametrize("how", ["cut", "hang"])
def test_a_store_that_is_away_is_a_passing_fault_wherever_it_is_asked(bucket, monkeypatch, how):
    sha256, _ = blobs.put(io.BytesIO(SMALL))
    impatient(bucket, monkeypatch)
    getattr(bucket.proxy, how)()
    calls = {
        "exists": lambda: blobs.exists(sha256),
        "size": lambda: blobs.size(sha256),
        "open": lambda: blobs.open(sha256),
        "modified": lambda: blobs.modified(sha256),
        "put": lambda: blobs.put(io.BytesIO(b"new")),
        "put large": lambda: blobs.put(io.BytesIO(LARGE)),
        "put_proven": lambda: blobs.put_proven([b"new"], hashlib.sha256(b"new").hexdigest()),
        "delete": lambda: blobs.delete(sha256),
        "walk": lambda: list(blobs.walk()),
        "sweep": lambda: blobs.sweep_incoming(timezone.now()),
        "require": blobs.require,
    }
    for name, call in calls.items():
        with pytest.raises(Exception) as raised:
            call()
        assert faults.is_stores(raised.value) and faults.passing(raised.value), name
        assert not isinstance(raised.value, OSError), f"{name}: it would be taken for a missing or damaged file"
    assert not blobs.answers()
    bucket.proxy.resume()
    assert eventually(blobs.answers) and blobs.exists(sha256)


def impatient(bucket, monkeypatch) -> None:
    """A client that waits for a tenth of a second and tries once; for requests after the first that made it."""
    monkeypatch.setattr(client, "READ_SECONDS", 0.3)
    monkeypatch.setattr(client, "TRIES", 1)
    monkeypatch.setattr(client, "PAUSE_SECONDS", 0.1)
    from django.core.files.storage import storages

    storages._storages.pop("blobs", None)


def eventually(holds) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.05)
    return False


def test_while_the_store_hangs_only_few_wait_for_it(bucket, monkeypatch):
    """After a few requests without an answer the others are refused before they are sent; one at a time tries."""
    blobs.put(io.BytesIO(SMALL))
    impatient(bucket, monkeypatch)
    monkeypatch.setattr(client, "PAUSE_SECONDS", 60)
    bucket.proxy.hang()
    asked = []
    bucket.client.meta.events.register("before-send.s3", lambda **_: asked.append(1))
    for _ in range(10):
        with pytest.raises(Exception) as raised:
            blobs.exists("0" * 64)
        assert faults.is_stores(raised.value)
    assert len(asked) == client.FAILURES
    assert isinstance(raised.value, EndpointConnectionError)


def test_who_tries_a_store_that_hangs_is_not_followed_by_another_every_second(monkeypatch):
    """Each try may hang for minutes: one a second would hold every thread of the process."""
    now = [100.0]
    monkeypatch.setattr(client.time, "monotonic", lambda: now[0])
    patience = client.Patience()
    patience.endpoint = "http://store"
    for _ in range(client.FAILURES):
        patience._failed(exception=EndpointConnectionError(endpoint_url="http://store"))
    trying = 0
    for _ in range(60):
        now[0] += 1.01 * client.PAUSE_SECONDS
        with contextlib.suppress(EndpointConnectionError):
            patience._before()
            trying += 1
    assert trying <= 7
    patience._failed(exception=ValueError("its body could not be read"))
    now[0] += 1.01 * client.PAUSE_SECONDS
    patience._before()
    patience._answered()
    patience._before()


TROUBLE = {
    "a missing bucket": ("NoSuchBucket", 404, "no such bucket. Make it"),
    "an unknown key": ("InvalidAccessKeyId", 403, "Correct AWS_ACCESS_KEY_ID"),
    "a wrong secret": ("SignatureDoesNotMatch", 403, "secret does not belong to the key"),
    "too few rights": ("AccessDenied", 403, "Give it these rights"),
    "another region": ("PermanentRedirect", 301, "AWS_DEFAULT_REGION"),
    "what we have no words for": ("Strange", 400, "Strange"),
}


@pytest.mark.parametrize("case", TROUBLE)
def test_what_is_wrong_for_good_is_said_in_words_with_what_to_set(bucket, monkeypatch, case):
    assert blobs.trouble() == ""
    code, status, words = TROUBLE[case]
    error = ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "ListObjectsV2")

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(objects.Objects, "probe", refuse)
    said = blobs.trouble()
    assert words in said and bucket.name in said and bucket.proxy.address in said
    assert not faults.passing(error)


def test_a_bucket_that_is_not_there_is_found_at_the_start_and_an_outage_is_no_trouble(bucket):
    bucket.client.delete_bucket(Bucket=bucket.name)
    assert "no such bucket" in blobs.trouble()
    bucket.proxy.cut()
    assert blobs.trouble() == ""


def test_hosts_that_start_at_once_do_not_take_each_other_for_trouble(bucket):
    other = []

    def start_another(**_) -> None:
        if not other:
            other.append("begun")
            other.append(blobs.trouble())

    bucket.client.meta.events.register("before-call.s3.HeadObject", start_another)
    assert (blobs.trouble(), other) == ("", ["begun", ""])
    assert "Contents" not in bucket.client.list_objects_v2(Bucket=bucket.name)


def test_a_folder_that_can_not_be_written_is_found_at_the_start(store, settings):
    (store / "file").write_bytes(b"")
    options = {"location": str(store / "file" / "blobs")}
    backend = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": options}
    settings.STORAGES = {**settings.STORAGES, "blobs": backend}
    assert "can't be written" in blobs.trouble()
