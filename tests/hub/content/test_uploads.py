"""Uploads: resumed at any byte, checked before anything is visible, leaving nothing behind when refused."""

import hashlib
import io
import os
import time
import uuid
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from composition.errors import CompositionError
from hub.errors import Conflict, Invalid, NotFound
from hub.models import Blob, ManifestEntry, Ref, RepositoryTag, Revision, Upload, UploadFile, Version
from hub.services import repositories
from hub.services.content import facets, staging, uploads
from hub.services.upkeep.expiry import expire_uploads
from hub.storage import blobs
from tests.hub import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]
CARD = {"README.md": b"# Sentiment\n\nReads moods.\n"}


def nothing_published() -> bool:
    rows = [model.objects.count() for model in (Revision, Version, Ref, ManifestEntry, Blob, RepositoryTag)]
    return not any(rows)


def append(upload, path, offset, data):
    return uploads.append(upload=upload, path=path, offset=offset, stream=io.BytesIO(data))


class Cut(io.BytesIO):
    """A connection that is reset after `at` bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        super().__init__(data)
        self.at = at

    def read(self, size=-1):
        if self.tell() >= self.at:
            raise ConnectionResetError
        return super().read(min(size, self.at - self.tell()))


@pytest.mark.usefixtures("either_store")
def test_nothing_is_visible_before_the_commit_and_all_after(owner, repository, base):
    files = factories.adapter_files(card="# Hello")
    upload = factories.begin(owner, repository, files)
    factories.send(upload, files)
    assert nothing_published()
    assert list(blobs.walk()) == []
    result = uploads.commit_upload(actor=owner, upload=upload)
    assert result.created
    assert result.version.label == "v1"
    stored = {entry.path: blobs.open(entry.blob_id).read() for entry in result.revision.entries.all()}
    assert stored == files


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 5000), max_size=5))
def test_a_push_cut_anywhere_goes_on_where_it_was(owner, repository, cuts):
    data = f"# Card {uuid.uuid4()}\n".encode() + bytes(range(33, 126)) * 53
    upload = factories.begin(owner, repository, {"README.md": data}, message=str(cuts))
    got = 0
    for cut in cuts:
        with pytest.raises(ConnectionResetError):
            uploads.append(
                upload=upload, path="README.md", offset=got, stream=Cut(data[got:], min(cut, len(data) - got))
            )
        got = min(len(data), got + cut)
        (row,) = uploads.refresh(upload)
        assert row.received == got == UploadFile.objects.get(pk=row.pk).received
    assert append(upload, "README.md", got, data[got:]) == len(data)
    revision = uploads.commit_upload(actor=owner, upload=upload).revision
    assert blobs.open(revision.entries.get().blob_id).read() == data


@pytest.mark.parametrize("offset", [0, 3, 11, 10**15])
def test_a_piece_that_does_not_begin_at_the_end_is_told_where_the_end_is(owner, repository, offset):
    upload = factories.begin(owner, repository, CARD)
    append(upload, "README.md", 0, CARD["README.md"][:10])
    with pytest.raises(Conflict) as refusal:
        append(upload, "README.md", offset, b"xxxx")
    assert refusal.value.code == "upload.offset"
    assert refusal.value.facts["received"] == 10
    assert uploads.refresh(upload)[0].received == 10


def test_bytes_are_synced_before_they_are_acknowledged_and_once_a_request(owner, repository, monkeypatch):
    synced, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (sync(handle), synced.append(os.fstat(handle).st_size)))
    upload = factories.begin(owner, repository, CARD)
    data = CARD["README.md"]

    def send(begin: int, stream: io.BytesIO, goes_on: bool) -> int:
        return uploads.append(upload=upload, path="README.md", offset=begin, stream=stream, goes_on=goes_on)

    assert send(0, io.BytesIO(data[:4]), True) == 4
    assert not synced
    assert send(4, io.BytesIO(data[4:6]), False) == 6
    assert synced == [6]
    with pytest.raises(ConnectionResetError):
        send(6, Cut(data[6:], 2), True)
    assert synced == [6, 8]
    assert send(8, io.BytesIO(data[8:]), True) == len(data)
    assert synced == [6, 8, len(data)]


def test_the_disk_is_the_truth(owner, repository):
    upload = factories.begin(owner, repository, CARD)
    append(upload, "README.md", 0, CARD["README.md"][:10])
    row = upload.files.get()
    os.truncate(staging.path_of(row), 4)
    assert uploads.refresh(upload)[0].received == 4
    assert UploadFile.objects.get(pk=row.pk).received == 4


def test_more_bytes_than_promised_are_refused(owner, repository):
    upload = factories.begin(owner, repository, CARD)
    with pytest.raises(Invalid) as refusal:
        append(upload, "README.md", 0, CARD["README.md"] + b"!")
    assert refusal.value.code == "upload.too_long"
    assert staging.path_of(upload.files.get()).stat().st_size == len(CARD["README.md"])


@pytest.mark.usefixtures("either_store")
def test_a_file_that_was_not_promised_is_not_taken(owner, repository):
    with pytest.raises(NotFound):
        append(factories.begin(owner, repository, CARD), "other.md", 0, b"x")


@pytest.mark.usefixtures("either_store")
def test_committing_too_early_says_what_is_missing_and_keeps_what_came(owner, repository):
    upload = factories.begin(owner, repository, {**CARD, "notes.md": b"n" * 9})
    append(upload, "README.md", 0, CARD["README.md"])
    append(upload, "notes.md", 0, b"nn")
    with pytest.raises(Conflict) as refusal:
        uploads.commit_upload(actor=owner, upload=upload)
    assert refusal.value.code == "upload.incomplete"
    assert refusal.value.facts["files"] == [{"path": "notes.md", "received": 2, "size": 9}]
    assert nothing_published()
    append(upload, "notes.md", 2, b"n" * 7)
    assert uploads.commit_upload(actor=owner, upload=upload).created


@pytest.mark.usefixtures("either_store")
def test_bytes_that_are_not_those_promised_are_refused_and_may_come_again(owner, repository):
    upload = factories.begin(owner, repository, CARD)
    damaged = CARD["README.md"].replace(b"R", b"r")
    append(upload, "README.md", 0, damaged)
    with pytest.raises(Invalid) as refusal:
        uploads.commit_upload(actor=owner, upload=upload)
    assert refusal.value.code == "upload.digest"
    assert refusal.value.facts["computed"] == hashlib.sha256(damaged).hexdigest()
    assert nothing_published()
    assert list(blobs.walk()) == []
    assert uploads.refresh(upload)[0].received == 0
    factories.send(upload, CARD)
    assert uploads.commit_upload(actor=owner, upload=upload).created


@pytest.mark.usefixtures("either_store")
def test_a_refused_adapter_leaves_nothing_and_only_the_mended_file_is_sent_again(owner, repository, base):
    good = factories.adapter_files(rank=4)
    wrong = {**good, "adapter_config.json": factories.adapter_files(rank=3)["adapter_config.json"]}
    upload = factories.begin(owner, repository, wrong)
    factories.send(upload, wrong)
    with pytest.raises(CompositionError):
        uploads.commit_upload(actor=owner, upload=upload)
    assert nothing_published()
    assert list(blobs.walk()) == []
    mended = factories.begin(owner, repository, good)
    here = {row.path: (row.received, row.size) for row in uploads.refresh(mended)}
    weights = len(good["adapter_model.safetensors"])
    assert here["adapter_model.safetensors"] == (weights, weights)
    assert here["adapter_config.json"][0] == 0
    factories.send(mended, good)
    assert uploads.commit_upload(actor=owner, upload=mended).version.number == 1


@pytest.mark.usefixtures("either_store")
def test_a_half_sent_file_goes_on_in_the_next_push_of_the_same(owner, repository):
    first = factories.begin(owner, repository, CARD)
    append(first, "README.md", 0, CARD["README.md"][:10])
    second = factories.begin(owner, repository, CARD)
    assert uploads.refresh(second)[0].received == 10
    assert uploads.refresh(first)[0].received == 10
    factories.send(second, CARD)
    assert uploads.commit_upload(actor=owner, upload=second).created


@pytest.mark.usefixtures("either_store")
def test_another_users_bytes_are_not_taken_over(people, repository):
    factories.send(factories.begin(people.owner, repository, CARD), CARD)
    assert uploads.refresh(factories.begin(people.member, repository, CARD))[0].received == 0


@pytest.mark.usefixtures("either_store")
def test_a_failure_in_the_middle_of_writing_leaves_nothing(owner, repository, base, monkeypatch):
    files = factories.adapter_files(card="---\ntags: [a]\n---\n")
    upload = factories.begin(owner, repository, files)
    factories.send(upload, files)

    def fail(*args, **kwargs):
        raise RuntimeError("the power went")

    with monkeypatch.context() as patch:
        patch.setattr(facets, "refresh", fail)
        with pytest.raises(RuntimeError):
            uploads.commit_upload(actor=owner, upload=upload)
    assert nothing_published()
    assert uploads.commit_upload(actor=owner, upload=upload).version.number == 1


@pytest.mark.usefixtures("either_store")
def test_a_digest_alone_proves_nothing(people, repository, base):
    """What another repository holds, even a public one, must be sent in full; what this one holds need not."""
    files = factories.adapter_files()
    factories.push(people.owner, repository, files)
    stranger = people.stranger
    claim = factories.begin(stranger, factories.make_repository(stranger, "mine"), files)
    assert [row.received for row in uploads.refresh(claim)] == [0, 0]
    with pytest.raises(Conflict):
        uploads.commit_upload(actor=stranger, upload=claim)
    again = factories.begin(people.member, repository, {**files, **CARD})
    sent = {row.path: row.received == row.size for row in uploads.refresh(again)}
    assert sent == {"README.md": False, "adapter_config.json": True, "adapter_model.safetensors": True}


def test_a_known_digest_with_another_size_is_not_believed(owner, repository):
    factories.push(owner, repository, CARD)
    (said,) = factories.promise(CARD)
    upload = uploads.begin_upload(actor=owner, repository=repository, files=[{**said, "size": said["size"] + 1}])
    assert uploads.refresh(upload)[0].received == 0


@pytest.mark.usefixtures("either_store")
def test_committing_twice_is_committing_once(owner, repository, base):
    files = factories.adapter_files()
    upload = factories.begin(owner, repository, files)
    factories.send(upload, files)
    first = uploads.commit_upload(actor=owner, upload=upload)
    again = uploads.commit_upload(actor=owner, upload=Upload.objects.get(pk=upload.pk))
    assert (again.revision, again.version, again.created) == (first.revision, first.version, False)
    assert Revision.objects.count() == 1
    with pytest.raises(Conflict):
        append(Upload.objects.get(pk=upload.pk), "adapter_config.json", 0, b"x")


def test_what_is_committed_or_abandoned_leaves_no_staged_bytes(owner, repository):
    done = factories.begin(owner, repository, CARD)
    factories.send(done, CARD)
    uploads.commit_upload(actor=owner, upload=done)
    left = factories.begin(owner, repository, {"notes.md": b"notes"})
    factories.send(left, {"notes.md": b"notes"})
    uploads.abandon_upload(actor=owner, upload=left)
    assert not staging.folder(done).exists()
    assert not staging.folder(left).exists()
    assert not Upload.objects.filter(pk=left.pk).exists()
    with pytest.raises(NotFound):
        uploads.commit_upload(actor=owner, upload=left)


@pytest.mark.usefixtures("either_store")
def test_an_empty_file_needs_no_byte(owner, repository):
    upload = factories.begin(owner, repository, {**CARD, "notes.md": b""})
    append(upload, "README.md", 0, CARD["README.md"])
    assert uploads.commit_upload(actor=owner, upload=upload).created


GOOD = {"path": "README.md", "size": 3, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ({"path": "../README.md"}, "path.segment"),
        ({"path": "/etc/passwd"}, "path.absolute"),
        ({"path": "a\\b.md"}, "path.character"),
        ({"path": "a\x00.md"}, "path.control"),
        ({"path": "pytorch_model.bin"}, "content.pickle"),
        ({"path": "run.sh"}, "content.code"),
        ({"path": "x.zip"}, "content.archive"),
        ({"path": "x.html"}, "content.active"),
        ({"path": 7}, "invalid"),
        ({"size": -1}, "invalid"),
        ({"size": True}, "invalid"),
        ({"size": "3"}, "invalid"),
        ({"size": 10**13}, "upload.too_large"),
        ({"sha256": "0" * 63}, "invalid"),
        ({"sha256": "G" * 64}, "invalid"),
        ({"sha256": None}, "invalid"),
    ],
)
def test_what_could_never_be_taken_is_refused_before_a_byte_is_sent(owner, repository, file, code):
    with pytest.raises((CompositionError, Invalid)) as refusal:
        uploads.begin_upload(actor=owner, repository=repository, files=[{**GOOD, **file}])
    assert refusal.value.code == code
    assert not Upload.objects.exists()


@pytest.mark.parametrize(
    "paths", [["README.md", "README.md"], ["README.md", "readme.md"], ["a.md", "a.md/b.md"], []], ids=str
)
def test_names_that_stand_in_each_others_way_are_refused(owner, repository, paths):
    with pytest.raises((CompositionError, Invalid)):
        uploads.begin_upload(actor=owner, repository=repository, files=[{**GOOD, "path": path} for path in paths])


def test_a_name_that_collides_with_one_in_the_branch_is_refused(owner, repository):
    factories.push(owner, repository, CARD)
    with pytest.raises(CompositionError, match="letter case"):
        factories.begin(owner, repository, {"Readme.md": b"x"})


@pytest.mark.usefixtures("either_store")
@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x80\x04\x95" + b"x" * 2000, "content.pickle"),
        (b"PK\x03\x04" + b"x" * 2000, "content.zip"),
        (b"\x7fELF" + b"x" * 2000, "content.executable"),
        (b"#!/bin/sh\n", "content.executable"),
    ],
)
def test_what_is_not_what_its_name_says_is_refused_by_its_first_bytes(owner, repository, data, code):
    files = {"README.md": data}
    upload = factories.begin(owner, repository, files)
    with pytest.raises(CompositionError) as refusal:
        append(upload, "README.md", 0, data[:1500])
    assert refusal.value.code == code
    assert uploads.refresh(upload)[0].received == 0


def test_a_magic_sent_byte_by_byte_is_still_found(owner, repository):
    data = b"PK\x03\x04" + b"x" * 100
    upload = factories.begin(owner, repository, {"README.md": data})
    for at in range(len(data) - 1):
        append(upload, "README.md", at, data[at : at + 1])
    with pytest.raises(CompositionError, match="ZIP"):
        append(upload, "README.md", len(data) - 1, data[-1:])


def test_a_repository_in_the_trash_takes_nothing(owner, repository):
    upload = factories.begin(owner, repository, CARD)
    factories.send(upload, CARD)
    repositories.delete_repository(actor=owner, repository=repository)
    for act in (
        lambda: factories.begin(owner, repository, CARD),
        lambda: uploads.commit_upload(actor=owner, upload=upload),
    ):
        with pytest.raises(Conflict) as refusal:
            act()
        assert refusal.value.code == "repository.deleted"
    assert nothing_published()


def long_ago(*uploads: Upload) -> None:
    """As if they had been begun, and had got their bytes, nine days ago."""
    then = timezone.now() - timedelta(days=9)
    Upload.objects.filter(pk__in=[upload.pk for upload in uploads]).update(created_at=then, touched_at=then)
    for folder in map(staging.folder, uploads):
        for path in (*folder.glob("*"), folder) if folder.is_dir() else ():
            os.utime(path, (then.timestamp(), then.timestamp()))


def test_uploads_expire_with_their_bytes_unless_somebody_still_sends(owner, repository):
    left, busy, fresh = (factories.begin(owner, repository, {f"{n}.md": b"12345"}) for n in "abc")
    append(left, "a.md", 0, b"12")
    long_ago(left, busy)
    append(Upload.objects.get(pk=busy.pk), "b.md", 0, b"12")
    stray = staging.folder(left).with_name("stray")
    stray.mkdir()
    os.utime(stray, (1, 1))
    assert expire_uploads(dry_run=True) == 2
    assert expire_uploads() == 2
    assert set(Upload.objects.all()) == {busy, fresh}
    assert not staging.folder(left).exists()
    assert not stray.exists()


@pytest.mark.parametrize("act", ["send", "commit"])
def test_a_push_that_goes_on_lives_though_upkeep_runs_where_its_bytes_are_not(
    owner, repository, settings, tmp_path, act
):
    """The web process on one machine, the workers on another: only the database is theirs both."""
    upload, here = factories.begin(owner, repository, CARD), settings.UPLOAD_FOLDER
    append(upload, "README.md", 0, CARD["README.md"] if act == "commit" else CARD["README.md"][:3])
    long_ago(upload)
    upload.refresh_from_db()

    def upkeep_elsewhere(row, *_) -> None:
        settings.UPLOAD_FOLDER = tmp_path / "other machine"
        assert expire_uploads() == 0
        settings.UPLOAD_FOLDER = here

    with pytest.MonkeyPatch.context() as during:
        # While bytes come and while they are checked, which may take long.
        during.setattr(uploads, "check_digest", upkeep_elsewhere)
        during.setattr(uploads, "refuse_by_first_bytes", upkeep_elsewhere)
        if act == "send":
            append(upload, "README.md", 3, CARD["README.md"][3:])
        assert uploads.commit_upload(actor=owner, upload=upload).created


def test_bytes_of_a_push_that_upkeep_elsewhere_forgot_go_when_the_next_one_begins(
    owner, repository, settings, tmp_path
):
    left, here = factories.begin(owner, repository, CARD), settings.UPLOAD_FOLDER
    append(left, "README.md", 0, b"# S")
    long_ago(left)
    (here / ".swept").unlink(missing_ok=True)
    settings.UPLOAD_FOLDER = tmp_path / "other machine"
    assert expire_uploads() == 1 and not Upload.objects.exists()
    settings.UPLOAD_FOLDER = here
    assert (here / str(left.pk)).exists()
    living = factories.begin(owner, repository, CARD)
    append(living, "README.md", 0, b"# S")
    assert not (here / str(left.pk)).exists() and staging.folder(living).exists()
    with pytest.raises(NotFound):
        append(left, "README.md", 3, b"ent")


def test_it_is_swept_once_a_day_and_never_where_pushes_are_kept_for_ever(owner, repository, settings):
    mark, stray = settings.UPLOAD_FOLDER / ".swept", settings.UPLOAD_FOLDER / "stray"
    stray.mkdir(parents=True)
    for days, swept_hours_ago, goes in ((0, 25, False), (7, 1, False), (7, 25, True)):
        mark.touch()
        os.utime(mark, (time.time() - swept_hours_ago * 3600,) * 2)
        os.utime(stray, (1, 1))
        settings.KEEP_UPLOADS_DAYS = days
        factories.begin(owner, repository, CARD)
        assert stray.exists() is not goes, (days, swept_hours_ago)


def test_the_command_counts_them(owner, repository, capsys):
    upload = factories.begin(owner, repository, CARD)
    long_ago(upload)
    for options in (["--dry-run"], []):
        call_command("gc", *options)
        assert "1 abandoned uploads" in capsys.readouterr().out
    assert not Upload.objects.exists()
