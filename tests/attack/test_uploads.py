"""Whatever is done twice, at once or too late with an upload is answered, never our fault, and loses no one's bytes.

The faults: a second push of the same folder took the bytes of the first; a staged file cleaned away during its commit
was an error of ours; an upload could not be given up on a full disk.

Run on whatever database the tests have; `tests/hub/test_postgres.py` runs this file again on PostgreSQL.
"""

import io
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from hub.errors import Conflict, HubError, NotFound
from hub.models import Event, Repository, Revision, Upload, UploadFile, Version
from hub.services.content import staging, uploads
from hub.services.upkeep.expiry import expire_uploads
from hub.storage import blobs
from tests.hub import factories
from tests.hub.api_client import Api, problem
from tests.hub.test_parallel import at_once, ready

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]
CARD = {"README.md": b"# Card\n" * 40}


def begun(user, repository, files=CARD):
    upload = factories.begin(user, repository, files)
    factories.send(upload, files)
    return upload


def fresh(upload):
    return Upload.objects.get(pk=upload.pk)


def append(upload, data, offset=0, path="README.md"):

    return uploads.append(upload=upload, path=path, offset=offset, stream=io.BytesIO(data))


class TestParallelPushes:
    """Two pushes of one user to one repository, as of two machines, or of a script that was started twice."""

    def test_none_takes_what_another_has_sent(self, owner, repository):
        whole, part = begun(owner, repository), factories.begin(owner, repository, CARD)
        UploadFile.objects.filter(upload=whole).update(received=0)
        assert uploads.refresh(whole)[0].received == len(CARD["README.md"])
        assert uploads.refresh(part)[0].received == len(CARD["README.md"]), "It is here as well."
        uploads.abandon_upload(actor=owner, upload=part)
        assert uploads.commit_upload(actor=owner, upload=whole).created

    def test_each_goes_on_alone_after_a_part_was_shared(self, owner, repository):
        data = CARD["README.md"]
        first = factories.begin(owner, repository, CARD)
        append(first, data[:10])
        second = factories.begin(owner, repository, CARD)
        assert append(second, data[10:20], 10) == 20
        assert append(first, data[10:], 10) == len(data)
        assert append(second, data[20:], 20) == len(data)
        assert uploads.commit_upload(actor=owner, upload=first).created
        assert not uploads.commit_upload(actor=owner, upload=second).created

    def test_damage_in_one_is_not_committed_by_the_other(self, owner, repository):
        first = factories.begin(owner, repository, CARD)
        append(first, CARD["README.md"].replace(b"C", b"c"))
        second = factories.begin(owner, repository, CARD)
        for upload in (second, first):
            with pytest.raises(HubError) as refusal:
                uploads.commit_upload(actor=owner, upload=upload)
            assert refusal.value.code == "upload.digest"
        factories.send(second, CARD)
        assert uploads.commit_upload(actor=owner, upload=second).created
        assert blobs.open(Revision.objects.get().entries.get().blob_id).read() == CARD["README.md"]

    def test_all_at_once_all_arrive(self, owner, repository, base):
        files = factories.adapter_files()

        def push():
            upload = begun(owner, repository, files)
            return uploads.commit_upload(actor=owner, upload=upload)

        outcomes = at_once(push, push, push)
        assert sorted(outcome.created for outcome in outcomes) == [False, False, True], outcomes
        assert Version.objects.count() == 1


class TestTwiceAtOnceTooLate:
    @pytest.mark.parametrize("other", ["commit", "abandon", "send", "begin", "expire"])
    def test_while_a_commit_runs(self, owner, repository, base, other, settings):
        """Both are answered: done, or refused with a status below 500. What was published is whole."""
        files = factories.adapter_files()
        upload = begun(owner, repository, files)
        acts = {
            "commit": lambda: uploads.commit_upload(actor=owner, upload=fresh(upload)),
            "abandon": lambda: uploads.abandon_upload(actor=owner, upload=fresh(upload)),
            "send": lambda: append(fresh(upload), b"more", 0, "adapter_config.json"),
            "begin": lambda: begun(owner, repository, files),
            "expire": lambda: expire_uploads(older_than=timedelta(seconds=-60)),
        }
        outcomes = at_once(acts["commit"], acts[other], acts["commit"])
        for outcome in outcomes:
            refused = isinstance(outcome, HubError | Upload.DoesNotExist)
            assert refused or not isinstance(outcome, Exception), outcome
        for revision in Revision.objects.all():
            for entry in revision.entries.all():
                assert blobs.open(entry.blob_id).read() == files[entry.path]
        assert other in ("abandon", "expire") or Revision.objects.count() == 1

    def test_twice_one_after_the_other(self, owner, repository):
        """As when the first answer was lost; a given-up upload stays given up."""
        upload = begun(owner, repository)
        api = Api(owner)
        first, again = (api.post(f"/uploads/{upload.pk}/commit") for _ in range(2))
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json() | {"created": False} == again.json()
        problem(api.send(upload.pk, "README.md", b"x", 0), 409, "upload.committed")
        left = begun(owner, repository, {"notes.md": b"notes"})
        assert api.delete(f"/uploads/{left.pk}").status_code == 204
        for late in (api.delete(f"/uploads/{left.pk}"), api.post(f"/uploads/{left.pk}/commit")):
            problem(late, 404, "not_found")
        problem(api.send(left.pk, "notes.md", b"x", 0), 404, "not_found")

    def test_given_up_twice_at_once_is_given_up_once(self, owner, repository):
        upload = begun(owner, repository)
        give_up = lambda: uploads.abandon_upload(actor=owner, upload=upload)  # noqa: E731
        outcomes = at_once(give_up, give_up)
        assert sorted(isinstance(outcome, NotFound) for outcome in outcomes) == [False, True], outcomes
        assert Event.objects.filter(verb="upload.abandon").count() == 1

    def test_bytes_that_come_after_it_was_given_up_leave_nothing(self, owner, repository):
        upload = factories.begin(owner, repository, CARD)

        class GivenUp:
            """A sender whose upload is given up by another request after the first bytes."""

            def __init__(self):
                self.pieces = [b"# Ca", b"rd\n"]

            def read(self, size):
                if len(self.pieces) == 1:
                    uploads.abandon_upload(actor=owner, upload=fresh(upload))
                return self.pieces.pop(0) if self.pieces else b""

        with pytest.raises(NotFound) as refusal:
            uploads.append(upload=upload, path="README.md", offset=0, stream=GivenUp())
        assert refusal.value.code == "upload.gone"
        assert not staging.folder(upload).exists()

    def test_a_repository_that_goes_away_during_a_push(self, owner, repository):
        upload = begun(owner, repository)
        gone = fresh(upload)
        gone.repository  # noqa: B018 - loaded before it goes
        Repository.objects.filter(pk=repository.pk).delete()
        with pytest.raises(NotFound):
            uploads.commit_upload(actor=owner, upload=gone)
        with pytest.raises(NotFound):
            factories.begin(owner, repository, CARD)


class TestDisk:
    @pytest.mark.parametrize("when", ["before", "checked", "stored"])
    def test_a_staged_file_that_vanished_is_sent_again(self, owner, repository, base, monkeypatch, when):
        """A cleaner of the disk comes before the commit, after the digest was checked, or before the store has it."""
        files = factories.adapter_files()
        upload = begun(owner, repository, files)
        lose = lambda: staging.discard(upload.files.get(path="adapter_config.json"))  # noqa: E731
        if when == "before":
            lose()
        else:
            place = (uploads.publishing, "check_change") if when == "checked" else (staging.folders.blobs, "add")
            act = getattr(*place)

            def losing(*arguments, **more):
                lose()
                return act(*arguments, **more)

            monkeypatch.setattr(*place, losing)
        with pytest.raises(Conflict) as refusal:
            uploads.commit_upload(actor=owner, upload=upload)
        assert refusal.value.code in ("upload.incomplete", "blob.gone")
        assert not Revision.objects.exists()
        monkeypatch.undo()
        factories.send(upload, files)
        assert uploads.commit_upload(actor=owner, upload=upload).created

    def test_an_upload_whose_whole_folder_vanished_can_be_given_up_or_sent_again(self, owner, repository):
        for act in ("give up", "send"):
            upload = begun(owner, repository)
            staging.remove(upload)
            if act == "give up":
                uploads.abandon_upload(actor=owner, upload=upload)
            else:
                factories.send(upload, CARD)
                assert uploads.commit_upload(actor=owner, upload=upload).created

    def test_an_upload_is_given_up_on_a_full_disk(self, owner, repository, settings, tmp_path):
        """On a file system with no byte and no inode left, so that not even a lock file can be made."""
        place = tmp_path / "small"
        place.mkdir()
        small = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=5", "none", str(place)]
        if subprocess.run(small, capture_output=True).returncode:
            pytest.skip("mounting a small file system is not allowed here")
        try:
            settings.UPLOAD_FOLDER = place / "uploads"
            upload = factories.begin(owner, repository, CARD)
            append(upload, CARD["README.md"][:10])
            for number in range(9):
                try:
                    (place / f"filler{number}").write_bytes(b"x" * 70_000)
                except OSError:
                    continue
            with pytest.raises(OSError, match="No space"):
                (staging.folder(upload) / "lock").touch()
            uploads.abandon_upload(actor=owner, upload=upload)
            assert not Upload.objects.exists() and not staging.folder(upload).exists()
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)


def test_hubctl_pushes_the_same_folder_twice_at_once(live_server, owner, base, tmp_path):
    """Two processes, with one cache folder and with one each; into a repository that neither has made yet."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    for name, data in factories.adapter_files().items():
        (folder / name).write_bytes(data)
    secret = Api(owner).headers["Authorization"].removeprefix("Bearer ")
    root = Path(__file__).resolve().parents[2]
    for number, caches in enumerate((("one", "one"), ("one", "two"))):
        command = [sys.executable, "-m", "hubctl", "push", str(folder), f"owner/twice{number}", "--json"]
        running = [
            subprocess.Popen(
                command,
                cwd=root,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={
                    "PATH": "/usr/bin:/bin",
                    "HUBCTL_URL": live_server.url,
                    "HUBCTL_TOKEN": secret,
                    "XDG_CACHE_HOME": str(tmp_path / cache),
                    "XDG_CONFIG_HOME": str(tmp_path / "config"),
                },
            )
            for cache in caches
        ]
        said = [process.communicate(timeout=120) for process in running]
        assert [process.returncode for process in running] == [0, 0], said
        assert Version.objects.filter(repository__name=f"twice{number}").count() == 1


def test_both_commits_of_one_upload_at_once_answer_the_same(owner, repository, base):
    commit = ready(owner, repository, factories.adapter_files())
    outcomes = at_once(commit, commit, commit)
    assert len({outcome.revision.pk for outcome in outcomes}) == 1
    assert sorted(outcome.created for outcome in outcomes) == [False, False, True]
