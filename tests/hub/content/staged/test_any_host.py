"""Uploads of a hub with its store in S3: any host takes any piece, and a host that is lost loses nothing."""

import contextlib
import hashlib
import io
import random
import threading

import pytest
from botocore.exceptions import HTTPClientError, ReadTimeoutError
from django.utils import timezone

from composition.errors import CompositionError
from hub.errors import Conflict, Invalid, NotFound
from hub.models import StagedPart, Upload, UploadFile
from hub.services.content import staging, uploads
from hub.services.content.staging import holding, object_store, objects, writing
from hub.services.upkeep.expiry import expire_uploads
from hub.storage import blobs
from tests.hub import factories

pytestmark = pytest.mark.django_db
MB = 1 << 14  # For a test a megabyte is this, and all limits are smaller by as much.
DATA = random.Random(7).randbytes(13 * MB + 11)
NOTES = {"notes.txt": DATA}
KINDS = {"README.md": b"# Sentiment\n\nReads moods.\n"}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch) -> None:
    """Parts of six megabytes, so that a few of them make a test; the least that a store takes stays five."""
    monkeypatch.setattr(writing, "PART", 6 * MB)
    for module in (object_store, objects):
        monkeypatch.setattr(module, "LEAST_PART", 5 * MB)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 5 * MB)


def send(upload, data: bytes, at: int, path: str = "notes.txt") -> int:
    return uploads.append(upload=upload, path=path, offset=at, stream=io.BytesIO(data))


def where(upload) -> int:
    (row,) = uploads.refresh(Upload.objects.get(pk=upload.pk))
    assert UploadFile.objects.get(pk=row.pk).received == row.received
    return row.received


def stored(result) -> dict[str, bytes]:
    return {entry.path: blobs.open(entry.blob_id).read() for entry in result.revision.entries.all()}


class Cut(io.BytesIO):
    """A connection that is reset after `at` bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        super().__init__(data)
        self.at = at

    def read(self, size=-1):
        if self.tell() >= self.at:
            raise ConnectionResetError
        return super().read(min(size, self.at - self.tell()))


def test_begun_on_one_host_sent_to_others_and_committed_on_another(owner, dataset, hosts):
    files = factories.dataset_files() | {"notes.md": b"# Notes\n", "more/rows.bin.txt": DATA}
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, files)
    for path, data in files.items():
        for at, end in ((0, len(data) // 2), (len(data) // 2, len(data))):
            with hosts.on("B" if at else "A"):
                assert send(upload, data[at:end], at, path) == end
    with hosts.on("C"):
        assert {row.path: row.received for row in uploads.refresh(upload)} == {p: len(d) for p, d in files.items()}
        result = uploads.commit_upload(actor=owner, upload=upload)
    assert stored(result) == files and result.version
    assert not hosts.staged() and not StagedPart.objects.exists()
    with hosts.on("A"):
        assert uploads.commit_upload(actor=owner, upload=Upload.objects.get()).revision == result.revision


def test_looking_from_another_host_changes_nothing(owner, dataset, hosts):
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, NOTES)
        send(upload, DATA[: 7 * MB], 0)
    with hosts.on("B"):
        assert where(upload) == 7 * MB
        with pytest.raises(Conflict) as early:
            uploads.commit_upload(actor=owner, upload=upload)
    assert early.value.code == "upload.incomplete"
    with hosts.on("A"):
        assert where(upload) == 7 * MB


@pytest.mark.parametrize("cut", [0, 1, 3 * MB, 6 * MB, 7 * MB + 5, len(DATA)])
def test_a_cut_upload_goes_on_on_another_host_where_it_was(owner, dataset, hosts, cut):
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, NOTES)
        with pytest.raises(ConnectionResetError):
            uploads.append(upload=upload, path="notes.txt", offset=0, stream=Cut(DATA + b"!", cut))
    with hosts.on("B"):
        assert where(upload) == cut
        if cut < len(DATA):
            send(upload, DATA[cut:], cut)
    with hosts.on("C"):
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == NOTES
    assert not hosts.staged()


def test_of_two_hosts_with_the_same_piece_one_is_told_where_the_file_is(owner, dataset, hosts):
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, NOTES)
        send(upload, DATA[:MB], 0)
        onward = uploads.receive(
            upload=upload, path="notes.txt", offset=MB, stream=io.BytesIO(DATA[MB : 2 * MB]), goes_on=True
        )[1]
    with hosts.on("B"):
        assert send(upload, DATA[MB : 3 * MB], MB) == 3 * MB
    piece = {"path": "notes.txt", "offset": 2 * MB, "stream": io.BytesIO(DATA[2 * MB : 4 * MB])}
    with hosts.on("A"), pytest.raises(Conflict) as late:
        uploads.receive(upload=upload, **piece, onward=onward)
    assert (late.value.code, late.value.facts["received"]) == ("upload.offset", 3 * MB)
    onward.close()
    assert where(upload) == 3 * MB
    with hosts.on("B"):
        send(upload, DATA[3 * MB :], 3 * MB)
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == NOTES
    assert not hosts.staged()


def test_what_follows_in_a_body_is_kept_part_by_part(owner, dataset, hosts, monkeypatch):
    monkeypatch.setattr(writing, "AT_ONCE", 1)
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, NOTES)
        piece = {"upload": upload, "path": "notes.txt"}
        _, onward = uploads.receive(**piece, offset=0, stream=io.BytesIO(DATA[:MB]), goes_on=True)
        for at in range(MB, 13 * MB, MB):
            assert onward.take(at, [DATA[at : at + 5], DATA[at + 5 : at + MB]])
        assert not onward.take(0, [b"x"]) and not onward.take(13 * MB, [b"x" * 12])
        assert where(upload) >= 6 * MB, "What is stored counts, whatever becomes of this host."
        onward.close()
        assert where(upload) == 13 * MB
        received, after = uploads.receive(**piece, offset=13 * MB, stream=io.BytesIO(DATA[13 * MB :]))
        assert (received, after) == (len(DATA), None)
    with hosts.on("B"):
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == NOTES


def test_what_one_process_saw_whole_is_not_read_for_its_digest(owner, dataset, hosts, monkeypatch):
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, NOTES)
        send(upload, DATA[: 7 * MB], 0)
        send(upload, DATA[7 * MB :], 7 * MB)
    with hosts.on("B"):
        (row,) = uploads.refresh(upload)
        assert staging.sources([row])["notes.txt"].sha256 == hashlib.sha256(DATA).hexdigest()


def test_other_bytes_than_promised_are_refused_whoever_received_them(owner, dataset, hosts):
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, NOTES)
        send(upload, DATA[: 7 * MB], 0)
    with hosts.on("B"):
        send(upload, b"x" * (len(DATA) - 7 * MB), 7 * MB)
        with pytest.raises(Invalid) as refused:
            uploads.commit_upload(actor=owner, upload=upload)
    assert refused.value.code == "upload.digest"
    assert where(upload) == 0 and not hosts.staged()
    with hosts.on("A"):
        send(upload, DATA, 0)
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == NOTES


def test_more_than_promised_and_forbidden_first_bytes_are_refused(owner, repository, hosts):
    with hosts.on("A"):
        upload = factories.begin(owner, repository, KINDS)
        with pytest.raises(Invalid) as refusal:
            send(upload, KINDS["README.md"] + b"!", 0, "README.md")
        assert refusal.value.code == "upload.too_long" and where(upload) == len(KINDS["README.md"])
        pickled = b"\x80\x02}" + b"q" * 5000
        for size in (1024, 128):
            upload = factories.begin(owner, repository, {"notes.md": pickled})
            for at in range(0, 1024 - size, size):
                send(upload, pickled[at : at + size], at, "notes.md")
            at = where(upload)
            with pytest.raises(CompositionError):
                send(upload, pickled[at:], at, "notes.md")
            assert where(upload) == 0


@pytest.mark.parametrize("size", [100, 900 * MB // 1024])
def test_small_pieces_become_few_objects_and_each_byte_is_stored_a_few_times(owner, dataset, hosts, monkeypatch, size):
    written, put = [], object_store.Bucket.put

    def counted(self, name, body) -> None:
        written.append(body.seek(0, 2))
        body.seek(0)
        put(self, name, body)

    data = DATA if size > 1000 else DATA[:3_000]
    with hosts.on("A"), monkeypatch.context() as patched:
        patched.setattr(object_store.Bucket, "put", counted)
        upload = factories.begin(owner, dataset, {"notes.txt": data})
        for at in range(0, len(data), size):
            send(upload, data[at : at + size], at)
    doublings = (len(data) // size).bit_length()
    assert len(hosts.staged()) <= len(data) / (5 * MB) + doublings + 1
    assert sum(written) <= len(data) * (1 + doublings)
    with hosts.on("B"):
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == {"notes.txt": data}


def test_a_half_sent_file_goes_on_in_the_next_push_and_the_first_keeps_it(owner, dataset, hosts):
    with hosts.on("A"):
        first = factories.begin(owner, dataset, NOTES)
        send(first, DATA[: 7 * MB], 0)
    with hosts.on("B"):
        second = factories.begin(owner, dataset, NOTES | {"more.txt": b"more"})
        assert {row.path: row.received for row in uploads.refresh(second)} == {"notes.txt": 7 * MB, "more.txt": 0}
        uploads.abandon_upload(actor=owner, upload=first)
    with hosts.on("C"):
        factories.send(second, NOTES | {"more.txt": b"more"})
        assert stored(uploads.commit_upload(actor=owner, upload=second)) == NOTES | {"more.txt": b"more"}
    assert not hosts.staged()


def test_what_is_abandoned_expired_or_left_by_a_killed_host_goes(owner, dataset, hosts, monkeypatch):
    with hosts.on("A"):
        left = factories.begin(owner, dataset, NOTES)
        send(left, DATA[: 7 * MB], 0)
        # Killed between the object and its row.
        object_store.bucket().put("incoming/parts/" + "0" * 32, b"left")
        living = factories.begin(owner, dataset, {"other.txt": DATA})
        send(living, DATA[:MB], 0, "other.txt")
    assert len(hosts.staged()) == 4
    Upload.objects.filter(pk=left.pk).update(touched_at=timezone.now() - timezone.timedelta(days=30))
    with hosts.on("B"):
        assert expire_uploads(dry_run=True) == 1
        assert expire_uploads() == 1
        assert len(hosts.staged()) == 4, "Objects are as old as they are: what is young is given time."
        later = timezone.now() + timezone.timedelta(days=1)
        assert staging.remove_strays(later) == 3
        assert len(hosts.staged()) == 1
        assert where(living) == MB
        uploads.abandon_upload(actor=owner, upload=living)
    assert not hosts.staged() and not StagedPart.objects.exists()
    with pytest.raises(NotFound):
        send(left, b"x", 7 * MB)


def test_a_commit_holds_the_upload_for_all_hosts_and_a_dead_one_for_a_minute(owner, dataset, hosts):
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, {"notes.txt": b"notes"})
        send(upload, b"notes", 0)
    with staging.whole(upload.pk):
        with hosts.on("B"), pytest.raises(Conflict) as busy, staging.whole(upload.pk, patience=0):
            pass
        assert busy.value.code == "upload.busy" and busy.value.headers["Retry-After"]
        # Its host dies: nobody renews the lease.
        Upload.objects.update(held_until=timezone.now() - holding.LEASE)
        with hosts.on("B"):
            assert uploads.commit_upload(actor=owner, upload=upload).created


def test_a_host_that_comes_too_late_gets_what_the_other_one_published(owner, dataset, hosts, monkeypatch):
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, NOTES)
        send(upload, DATA, 0)
    done, keep = [], staging.keep

    def slow(found) -> None:
        monkeypatch.setattr(staging, "keep", keep)
        Upload.objects.update(held_until=timezone.now() - holding.LEASE)
        done.append(uploads.commit_upload(actor=owner, upload=upload))
        keep(found)

    monkeypatch.setattr(staging, "keep", slow)
    with hosts.on("B"):
        late = uploads.commit_upload(actor=owner, upload=Upload.objects.get(pk=upload.pk))
    assert late.revision == done[0].revision


def test_a_store_that_is_away_keeps_what_came_before_and_no_more_is_acknowledged(owner, dataset, hosts, monkeypatch):
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, NOTES)
        send(upload, DATA[:MB], 0)
        with monkeypatch.context() as away:

            def fails(*_):
                raise ConnectionError("the store is away")

            away.setattr(object_store.Bucket, "put", fails)
            with pytest.raises(ConnectionError):
                send(upload, DATA[MB:], MB)
        assert where(upload) == MB
        send(upload, DATA[MB:], MB)
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == NOTES


def test_an_upload_from_before_the_store_was_in_s3_begins_anew(owner, dataset, hosts):
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, NOTES)
        UploadFile.objects.update(received=5)
        assert where(upload) == 0
        UploadFile.objects.update(received=5)
        send(upload, DATA, 0)
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == NOTES


def test_objects_that_somebody_removed_are_sent_again(owner, dataset, hosts):
    files = {"notes.txt": DATA, "more.txt": b"more"}
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, files)
        factories.send(upload, files)
        part = StagedPart.objects.filter(file__path="notes.txt").last()
        object_store.bucket().delete([writing.object_name(part.name)])
        with pytest.raises(Conflict) as lost:
            uploads.commit_upload(actor=owner, upload=upload)
        assert lost.value.code == "upload.incomplete"
        assert {row.path: row.received for row in uploads.refresh(upload)} == {"notes.txt": 0, "more.txt": 4}
        factories.send(upload, files)
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == files


@pytest.mark.parametrize("files", [{"empty.txt": b""}, {"a.txt": b"same", "b.txt": b"same", "empty.txt": b""}])
def test_empty_files_and_the_same_file_twice(owner, dataset, hosts, files):
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, files)
        factories.send(upload, files)
    with hosts.on("B"):
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == files


def test_an_adapter_of_another_tool_is_turned_into_pefts_form_here_as_well(owner, repository, base, hosts):
    files = factories.adapter_files(card="# Hello")
    with hosts.on("A"):
        upload = factories.begin(owner, repository, files)
        factories.send(upload, files)
    with hosts.on("B"):
        result = uploads.commit_upload(actor=owner, upload=upload)
    assert stored(result) == files and result.version.label == "v1"


SIZES = [0, 1, 3 * MB, 5 * MB - 1, 5 * MB, 5 * MB + 1, 7 * MB, 10 * MB, 23 * MB]


def test_parts_for_the_store_are_never_too_small_and_are_the_same_bytes():
    """What the store's own rule is for parts, in proportion."""
    numbers = random.Random(3)
    for _ in range(300):
        spans = [object_store.Span(f"{n}", 0, numbers.choice(SIZES[1:])) for n in range(numbers.randint(1, 7))]
        parts = list(object_store._parts(spans))
        sizes = [sum(span.size for span in part) for part in parts]
        assert all(size >= object_store.LEAST_PART for size in sizes[:-1]), spans
        covered = [span for part in parts for span in part]
        whole = {span.name: [(one.begin, one.size) for one in covered if one.name == span.name] for span in spans}
        for span in spans:
            at = 0
            for begin, size in whole[span.name]:
                assert begin == at and size > 0
                at += size
            assert at == span.size
        assert [span.name for span in covered] == sorted((span.name for span in covered), key=int)


def test_parts_are_read_as_one_file_wherever_one_looks(owner, dataset, hosts):
    here = object_store.bucket()
    names = [f"incoming/parts/{n:032d}" for n in range(4)]
    pieces = [DATA[:10], b"", DATA[10 : 3 * MB], DATA[3 * MB :]]
    for name, piece in zip(names, pieces, strict=True):
        here.put(name, piece)
    spans = tuple(object_store.Span(name, 0, len(piece)) for name, piece in zip(names, pieces, strict=True))
    file, numbers = objects.PartsFile(spans), random.Random(5)
    assert file.size == len(DATA) and file.digest() == hashlib.sha256(DATA).hexdigest()
    with file.open() as stream:
        assert stream.read() == DATA
        for _ in range(20):
            at, size = numbers.randint(0, len(DATA) + 5), numbers.choice([0, 1, 100, MB // 2])
            stream.seek(at)
            assert stream.read(size) == DATA[at : at + size]
        stream.seek(-5, io.SEEK_END)
        assert stream.read() == DATA[-5:] and stream.tell() == len(DATA)


@pytest.mark.django_db(transaction=True)
def test_hosts_that_send_the_same_at_the_same_time_lose_and_double_nothing(owner, dataset, hosts):
    """Eight senders, each of which sends on from where it is told the file is."""
    data = DATA[: 2 * MB]
    with hosts.on("A"):
        upload = factories.begin(owner, dataset, {"notes.txt": data})
    faults, step = [], MB // 4

    def send_on() -> None:
        from django.db import connection

        at = 0
        try:
            while at < len(data):
                try:
                    at = send(upload, data[at : at + step], at)
                except Conflict as told:
                    at = told.facts["received"]
        except Exception as error:
            faults.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=send_on) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    with hosts.on("B"):
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == {"notes.txt": data}
    assert not hosts.staged()


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_whatever_hosts_do_and_wherever_they_die_the_file_is_what_was_sent(owner, dataset, hosts, seed):
    """Bodies begin where the file is said to end: sent whole, cut, left by a host that dies, or several at once."""
    numbers, data = random.Random(seed), DATA[: 9 * MB]
    upload, open_bodies = factories.begin(owner, dataset, {"notes.txt": data}), []

    def body(at: int, size: int):
        piece = {"upload": upload, "path": "notes.txt", "offset": at}
        first = data[at : at + size // 3]
        onward = uploads.receive(**piece, stream=io.BytesIO(first), goes_on=True)[1]
        return [onward, at + len(first), at + size]

    for _ in range(60):
        at = where(upload)
        if at == len(data):
            break
        size = min(numbers.choice([1, 3000, MB, 4 * MB]), len(data) - at)
        doing = numbers.choice(["send", "cut", "begin", "go on", "go on", "end", "die"])
        with contextlib.suppress(Conflict, ConnectionResetError), hosts.on(numbers.choice("AB")):
            if doing == "send":
                send(upload, data[at : at + size], at)
            elif doing == "cut":
                stream = Cut(data[at : at + size], numbers.randint(0, size))
                uploads.append(upload=upload, path="notes.txt", offset=at, stream=stream)
            elif doing == "begin" and at + size < len(data):
                open_bodies.append(body(at, size))
            elif open_bodies:
                one = numbers.choice(open_bodies)
                if doing == "die":
                    one[0].writer._settle()
                    one[0].writer.drop()
                    open_bodies.remove(one)
                elif doing == "end":
                    one[0].close()
                    open_bodies.remove(one)
                elif one[0].take(one[1], [data[one[1] : one[1] + MB]]):
                    one[1] += MB
        assert where(upload) >= at, "What was acknowledged stays."
    for onward, *_ in open_bodies:
        onward.close()
    with hosts.on("C"):
        if (at := where(upload)) < len(data):
            send(upload, data[at:], at)
        assert stored(uploads.commit_upload(actor=owner, upload=upload)) == {"notes.txt": data}
    assert not hosts.staged()


def test_a_part_that_comes_too_slowly_is_no_missing_file(hosts, monkeypatch):
    """botocore's time-outs are OSErrors, which readers take for a file that is gone or damaged."""

    class Slow:
        def iter_chunks(self, size):
            yield b"some"
            raise ReadTimeoutError(endpoint_url="http://s3")

        def close(self) -> None:
            pass

    here = object_store.bucket()
    monkeypatch.setattr(here.client, "get_object", lambda **_: {"Body": Slow()})
    with pytest.raises(HTTPClientError, match="Read timeout") as raised:
        here.read("incoming/parts/x", 0, 10)
    assert not isinstance(raised.value, OSError)
