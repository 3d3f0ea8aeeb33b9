"""Blobs: named by their own digest, stored once, whole or not at all, and collected only when nothing needs them."""

import hashlib
import io
import os
import time
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from hub.models import Arrival, BaseFile, Blob, Companion, JobCheckpoint, JobFile, ManifestEntry, Upload, UploadFile
from hub.services.content import staging, uploads
from hub.services.content.collection import collect_blobs, unreferenced
from hub.storage import blobs
from tests.hub import factories

pytestmark = pytest.mark.usefixtures("store")
DATA = b"weights " * 1000


@pytest.fixture(params=["folder", "object store"])
def anywhere(request, store):
    """The store on a disk, and in S3."""
    if request.param == "object store":
        request.getfixturevalue("bucket")
    return request.param


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("anywhere")
def test_bytes_come_back_under_their_sha256():
    sha256, size = blobs.put(io.BytesIO(DATA))
    assert (sha256, size) == (hashlib.sha256(DATA).hexdigest(), len(DATA))
    with blobs.open(sha256) as stream:
        assert stream.read() == DATA
        stream.seek(8)
        assert stream.read(8) == DATA[:8]
    assert (blobs.exists(sha256), blobs.size(sha256)) == (True, len(DATA))
    assert blobs.sizes([sha256, "0" * 64]) == {sha256: len(DATA)}
    assert blobs.sizes([]) == {}


@pytest.mark.usefixtures("anywhere")
def test_equal_bytes_are_stored_once_and_listed_once(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    assert blobs.add(tmp_path / "a") == blobs.put(io.BytesIO(DATA))
    other, _ = blobs.put(io.BytesIO(b"other"))
    assert sorted(blobs.walk()) == sorted([hashlib.sha256(DATA).hexdigest(), other])


def test_bytes_are_on_the_disk_before_their_name_and_the_name_before_it_is_told(monkeypatch):
    """The tests' settings wait for no disk; here it is seen that the store does, and in which order."""
    synced = []
    path = blobs.local_path(hashlib.sha256(DATA).hexdigest())
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append((os.fstat(handle).st_ino, path.exists())))
    blobs.put(io.BytesIO(DATA))
    assert synced == [(path.stat().st_ino, False), (path.parent.stat().st_ino, True)]


def test_a_link_s_name_is_on_the_disk_before_it_is_told(monkeypatch, tmp_path):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_ino))
    (tmp_path / "whole").write_bytes(DATA)
    sha256, _ = blobs.add(tmp_path / "whole", link=True)
    assert synced == [blobs.local_path(sha256).parent.stat().st_ino]


def test_what_an_upload_has_received_is_on_the_disk_before_it_is_told(monkeypatch, repository, people):
    synced = []
    upload = factories.begin(people.owner, repository, {"rows.txt": DATA})
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append((os.fstat(handle).st_ino, os.fstat(handle).st_size)))
    assert uploads.append(upload=upload, path="rows.txt", offset=0, stream=io.BytesIO(DATA)) == len(DATA)
    assert synced[0] == (staging.path_of(upload.files.get()).stat().st_ino, len(DATA))


@pytest.mark.usefixtures("anywhere")
def test_deleted_bytes_are_gone_and_deleting_again_is_nothing():
    sha256, _ = blobs.put(io.BytesIO(DATA))
    blobs.delete(sha256)
    blobs.delete(sha256)
    assert not blobs.exists(sha256)
    with pytest.raises(FileNotFoundError):
        blobs.open(sha256)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n", "/" * 64])
def test_a_name_that_is_no_digest_never_becomes_a_path(name):
    for use in (blobs.open, blobs.exists, blobs.size, blobs.delete, blobs.local_path):
        with pytest.raises(ValueError, match="not a SHA-256"):
            use(name)


def test_it_lies_under_two_folders_of_its_digest_and_is_read_only(store):
    sha256, _ = blobs.put(io.BytesIO(DATA))
    path = store / "blobs" / sha256[:2] / sha256[2:4] / sha256
    assert blobs.local_path(sha256) == path
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o222 == 0


def test_a_stream_that_breaks_leaves_nothing(store):
    class Breaking(io.BytesIO):
        def read(self, size=-1):
            if self.tell() >= 4000:
                raise ConnectionResetError
            return super().read(min(size, 4000))

    with pytest.raises(ConnectionResetError):
        blobs.put(Breaking(DATA))
    assert files_below(store) == []


def test_adding_by_link_shares_the_bytes_and_adding_by_copy_does_not(tmp_path):
    (tmp_path / "linked").write_bytes(b"linked")
    (tmp_path / "copied").write_bytes(b"copied")
    linked, _ = blobs.add(tmp_path / "linked", link=True)
    copied, _ = blobs.add(tmp_path / "copied")
    assert blobs.local_path(linked).stat().st_ino == (tmp_path / "linked").stat().st_ino
    (tmp_path / "copied").write_bytes(b"changed")
    assert blobs.open(copied).read() == b"copied"


def test_a_disk_that_can_not_link_copies(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError("EXDEV")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "file").write_bytes(DATA)
    sha256, size = blobs.add(tmp_path / "file", link=True)
    assert (blobs.open(sha256).read(), size) == (DATA, len(DATA))


def age(sha256: str, days: float = 3) -> None:
    then = time.time() - days * 86400
    os.utime(blobs.local_path(sha256), (then, then))


def old_blob(data: bytes, *, row: bool = True) -> str:
    sha256, size = blobs.put(io.BytesIO(data))
    if row:
        Blob.objects.create(sha256=sha256, size=size)
    age(sha256)
    return sha256


@pytest.mark.django_db
def test_storing_again_makes_bytes_young():
    sha256 = old_blob(DATA, row=False)
    blobs.put(io.BytesIO(DATA))
    assert collect_blobs().files == 0
    age(sha256)
    assert collect_blobs().files == 1


@pytest.mark.django_db
def test_collecting_takes_the_old_and_unneeded_with_and_without_row():
    with_row, without_row = old_blob(b"with row"), old_blob(b"without", row=False)
    young, _ = blobs.put(io.BytesIO(b"young"))
    done = collect_blobs()
    assert (done.rows, done.files, done.bytes) == (1, 2, len(b"with row") + len(b"without"))
    assert list(blobs.walk()) == [young]
    assert not Blob.objects.filter(pk__in=[with_row, without_row]).exists()


@pytest.mark.django_db
def test_a_row_whose_bytes_are_lost_is_collected():
    sha256 = old_blob(DATA)
    blobs.delete(sha256)
    assert collect_blobs().rows == 1
    assert not Blob.objects.exists()


@pytest.mark.django_db
def test_collecting_spares_what_is_published_kept_beside_or_being_uploaded(owner, repository, base):
    factories.publish(owner, repository, factories.adapter_files())
    beside, uploading = (Blob.objects.get(pk=old_blob(data)) for data in (b"beside", b"uploading"))
    Companion.objects.create(repository=repository, kind="seeds", name="s.jsonl", blob=beside)
    upload = Upload.objects.create(repository=repository, user=owner)
    UploadFile.objects.create(upload=upload, path="a.md", size=9, sha256=uploading.pk, blob=uploading)
    for sha256 in blobs.walk():
        age(sha256)
    before = set(blobs.walk())
    assert len(before) == 4
    assert collect_blobs(grace=timedelta(0)).files == 0
    assert set(blobs.walk()) == before


@pytest.mark.django_db
def test_every_reference_to_a_blob_counts():
    """The collector finds references by itself; if this list grows, it has counted the new one already."""
    models = {field.related_model for field in Blob._meta.get_fields(include_hidden=True) if field.one_to_many}
    assert models == {Arrival, BaseFile, ManifestEntry, Companion, JobCheckpoint, JobFile, UploadFile}
    sql = str(unreferenced().query)
    assert all(model._meta.db_table in sql for model in models)


@pytest.mark.django_db
def test_the_command_says_what_it_did(capsys):
    old_blob(b"12345", row=False)
    for options, said in ((["--dry-run"], "Would remove"), ([], "Removed")):
        call_command("gc", "--grace-hours", "1", *options)
        assert f"{said}: 0 abandoned uploads, 1 blobs (5 bytes)" in capsys.readouterr().out
    call_command("gc", "--json")
    assert '"blobs": 0' in capsys.readouterr().out


def test_a_temporary_file_may_vanish_while_it_is_swept(store, db, monkeypatch):
    """Its writer puts it in its place between the listing and the look at its age."""
    incoming = store / "blobs" / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    for name in "abc":
        (incoming / f"{name}.part").write_bytes(b"x")
    listed = type(incoming).iterdir

    def then_gone(folder):
        paths = sorted(listed(folder))
        paths[1].unlink()
        return iter(paths)

    monkeypatch.setattr(type(incoming), "iterdir", then_gone)
    assert blobs.sweep_incoming(timezone.now() + timedelta(hours=1)) == 2


def test_bytes_may_vanish_while_their_age_is_asked(db, monkeypatch):
    old_blob(DATA)
    monkeypatch.setattr(blobs, "modified", gone)
    assert collect_blobs().rows == 1


def gone(sha256):
    raise FileNotFoundError(sha256)


def test_temporary_files_of_killed_processes_are_swept(store, db):
    blobs.put(io.BytesIO(DATA))
    left = store / "blobs" / "incoming" / "left.part"
    left.write_bytes(b"half")
    collect_blobs()
    assert left.exists()
    os.utime(left, (0, 0))
    collect_blobs()
    assert not left.exists()
