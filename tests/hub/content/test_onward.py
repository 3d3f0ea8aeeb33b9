"""What takes the middle of a long body without asking Django: the same bytes, the same digest, the same refusals."""

import hashlib
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import Conflict, DiskFull, Invalid
from hub.models import ChunkStore
from hub.services.arrivals import chunks, digests, stores, transfer_files, transfers
from hub.services.content import staging, uploads
from hub.services.content.manifest import Entry
from hub.storage import blobs
from hub.xet.errors import XetError
from hub.xet.hashing import to_hex
from tests.hub import factories
from tests.hub.xet.writing import Xorb

MB = 1 << 20
DATA = os.urandom(3 * MB)
CARD = {"README.md": b"# Sentiment\n\nReads moods.\n"}


class Counting(io.FileIO):
    """Counts the bytes that are read of it."""

    came = 0

    def read(self, size=-1):
        data = super().read(size)
        self.came += len(data)
        return data


@given(
    st.lists(st.tuples(st.integers(0, 60), st.lists(st.binary(max_size=30), max_size=3)), max_size=12),
    st.integers(0, 12),
)
def test_the_digest_is_that_of_the_file_whatever_was_written_in_which_order(tmp_path_factory, writes, elsewhere):
    path = tmp_path_factory.mktemp("running") / "file"
    path.touch()
    with Counting(path, "r+b") as file:
        for number, (at, parts) in enumerate(writes):
            if number == elsewhere:  # Another process writes over what this one knows.
                digests.forget(path)
                os.pwrite(file.fileno(), b"elsewhere", 0)
            digests.write(path, file, min(at, os.fstat(file.fileno()).st_size), parts)
        assert digests.of(path, file).finish(file) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_came_in_order_is_not_read_again(tmp_path):
    path = tmp_path / "file"
    path.touch()
    with Counting(path, "r+b") as file:
        for at in range(0, len(DATA), MB):
            digests.write(path, file, at, [DATA[at : at + 7], DATA[at + 7 : at + MB]])
        assert digests.of(path, file).finish(file) == hashlib.sha256(DATA).hexdigest()
        assert file.came == 0


@pytest.fixture
def upload(owner, repository, db, store):
    files = CARD | {"notes.txt": b"x" * len(DATA)}
    made = factories.begin(owner, repository, files)
    append(made, files["notes.txt"][:MB], goes_on=True)
    return made


def append(upload, data: bytes, at: int = 0, *, goes_on: bool = False) -> int:
    return uploads.append(upload=upload, path="notes.txt", offset=at, stream=io.BytesIO(data), goes_on=goes_on)


def test_a_push_that_went_onward_is_committed(upload, owner, monkeypatch):
    uploads.append(upload=upload, path="README.md", offset=0, stream=io.BytesIO(CARD["README.md"]))
    onward = staging.folders.Onward(upload.files.get(path="notes.txt"))
    assert onward.take(MB, [b"x" * 1000, b"x" * (MB - 1000)])
    onward.close()
    assert append(upload, b"x" * MB, 2 * MB) == 3 * MB
    read, add = [], digests.RunningDigest.add

    def noted(self, at, parts):
        read.extend(parts)
        add(self, at, parts)

    monkeypatch.setattr(digests.RunningDigest, "add", noted)
    uploads.commit_upload(actor=owner, upload=upload)
    assert read == [CARD["README.md"]], "Only the small file is read for its digest."


def test_damaged_bytes_that_went_onward_are_refused(upload, owner):
    uploads.append(upload=upload, path="README.md", offset=0, stream=io.BytesIO(CARD["README.md"]))
    assert staging.folders.Onward(upload.files.get(path="notes.txt")).take(MB, [b"x" * MB, b"y" * MB])
    with pytest.raises(Invalid) as refused:
        uploads.commit_upload(actor=owner, upload=upload)
    assert refused.value.code == "upload.digest"


@pytest.mark.parametrize("why", ["offset", "too much", "locked", "disk", "write", "gone"])
def test_what_can_not_be_appended_onward_is_left_to_the_application(upload, monkeypatch, why):
    onward, row = staging.folders.Onward(upload.files.get(path="notes.txt")), upload.files.get(path="notes.txt")
    at, parts = MB, [b"x" * 1000]
    if why == "offset":
        at = MB - 1
    if why == "too much":
        parts = [b"x" * MB, b"x" * MB, b"x"]
    if why == "disk":
        monkeypatch.setattr("hub.disk.low", lambda *_, **__: "no room")
    if why == "gone":
        staging.remove(upload)
    if why == "write":

        def half(path, out, at, chunks):
            os.pwrite(out.fileno(), b"half", at)
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(digests, "write", half)
    if why == "locked":
        with staging.locked(staging.path_of(row)):
            assert not onward.take(at, parts)
    else:
        assert not onward.take(at, parts)
    assert staging.received(row) == (0 if why == "gone" else MB)


def test_a_repository_that_holds_the_file_needs_no_onward(owner, repository, store, db):
    factories.push(owner, repository, CARD)
    upload = factories.begin(owner, repository, CARD | {"more.txt": b"x"})
    assert uploads.receive(upload=upload, path="README.md", offset=0, stream=io.BytesIO(), goes_on=True)[1] is None


@pytest.fixture
def chunk_store(people, repository, store, db) -> ChunkStore:
    return stores.open_store(actor=people.member, repository=repository)


def test_a_transfer_that_went_onward_is_what_was_announced(chunk_store):
    entry = Entry(hashlib.sha256(DATA).hexdigest(), len(DATA))
    begun = {"store": chunk_store, "entry": entry, "most": len(DATA)}
    transfer_files.write(**begun, at=0, stream=io.BytesIO(DATA[:1000]), starts=True)
    onward = transfer_files.Onward(chunk_store, entry, 0, len(DATA))
    assert onward.take(1000, [DATA[1000:5000], DATA[5000:-10]])
    assert not onward.take(len(DATA) - 10, [DATA[-10:], b"x"]), "One more than may come."
    transfer_files.write(**begun, at=len(DATA) - 10, stream=io.BytesIO(DATA[-10:]), starts=False)
    transfers.complete(store=chunk_store, entry=entry)
    assert blobs.open(entry.sha256).read() == DATA
    assert not onward.take(len(DATA) - 10, [DATA[-10:]]), "The blob store has it."


XORB = Xorb([os.urandom(100_000) for _ in range(40)])


def begin(store: ChunkStore, body: bytes = XORB.body, cut: int = 300_000) -> chunks.ArrivingXorb:
    return send(store, body[:cut], length=len(body), more=True)


def send(store: ChunkStore, data: bytes, **options) -> chunks.ArrivingXorb:
    return chunks.put_xorb(store=store, name=to_hex(XORB.hash), stream=io.BytesIO(data), **options)


def left(store: ChunkStore) -> tuple[int, list[str]]:
    """The bytes that the store is charged with, and the kinds of files in it."""
    store.refresh_from_db()
    return store.bytes, sorted(path.suffix for path in (stores.folder(store) / "xorbs").iterdir())


def test_a_xorb_in_pieces_is_kept_as_one_that_comes_whole(chunk_store):
    xorb, at = begin(chunk_store), 300_000
    assert left(chunk_store) == (len(XORB.body), [".part"])
    for size in (1, 7, 100_000, 1_000_001):
        assert xorb.take(at, [XORB.body[at : at + size]])
        at += size
    send(chunk_store, XORB.body[at:], length=len(XORB.body), arriving=xorb)
    assert left(chunk_store) == (4_000_000, [".index", ".raw", ".sha256"])
    assert next((stores.folder(chunk_store) / "xorbs").glob("*.raw")).read_bytes() == b"".join(XORB.chunks)
    again = begin(chunk_store)
    assert not again.is_new and again.take(300_000, [b"any"])
    assert left(chunk_store) == (4_000_000, [".index", ".raw", ".sha256"])


@pytest.mark.parametrize("ends", ["cut", "damaged", "wrong offset", "disk"])
def test_a_xorb_that_is_not_kept_leaves_no_bytes_and_no_charge(chunk_store, monkeypatch, ends):
    xorb, rest, refusal = begin(chunk_store), XORB.body[300_000:], XetError
    if ends == "damaged":
        assert xorb.take(300_000, [rest[:-1000]])
        assert xorb.take(len(XORB.body) - 1000, [bytes(1000)])
        with pytest.raises(XetError, match="make"):
            send(chunk_store, b"", length=0, arriving=xorb)
    elif ends == "cut":
        xorb.close()
        xorb.close()
        assert not xorb.take(300_000, [rest])
    else:
        if ends == "disk":
            monkeypatch.setattr("hub.disk.low", lambda *_, **__: "no room")
            refusal = DiskFull
        else:
            rest = bytes(1 << 17)
        assert not xorb.take(300_000 if ends == "disk" else 300_001, [rest])
        with pytest.raises(refusal):
            send(chunk_store, rest, length=0, arriving=xorb)
    assert left(chunk_store) == (0, [])


def test_a_file_that_another_request_writes_is_busy_for_its_digest(upload):
    row = upload.files.get(path="notes.txt")
    with staging.locked(staging.path_of(row)), pytest.raises(Conflict) as busy:
        staging.digest(row)
    assert busy.value.code == "upload.busy"
