"""A disk that is nearly full, or full: what stores is refused with 507 and a sentence, everything else goes on.

The fault: the hub wrote until the disk was full, then answered 500, left half a file, and couldn't even abandon the
upload that filled it.
"""

import contextlib
import errno
import io
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.test import Client
from django.utils import timezone

from hub import disk
from hub.errors import DiskFull
from hub.models import Job, State, Upload
from hub.services.content import staging, uploads
from hub.services.jobs import lease
from hub.storage import blobs
from tests.hub import asking, factories
from tests.hub.api_client import Api, problem
from workers.runner import run

pytestmark = pytest.mark.django_db
HUGE = 10**12  # MB; more than any disk has


@pytest.mark.usefixtures("store")
class TestTheMinimum:
    def test_is_tried_from_both_sides(self, owner, repository, settings):
        free = os.statvfs(settings.UPLOAD_FOLDER.parent)
        free = free.f_bavail * free.f_frsize // disk.MB
        api, files = Api(owner), {"README.md": b"# A card\n"}
        settings.MIN_FREE_MB = free * 2
        body = problem(api.begin("lab/sentiment", files), 507, "disk.full")
        assert "MB are free" in body["detail"]
        settings.MIN_FREE_MB = free // 2
        assert api.push("lab/sentiment", files)["created"]

    def test_counts_the_bytes_that_are_to_come(self, owner, repository, settings):
        settings.MIN_FREE_MB = 0
        huge = [{"path": "adapter_model.safetensors", "size": settings.MAX_FILE_BYTES, "sha256": "0" * 64}]
        settings.MAX_FILE_BYTES = huge[0]["size"] = 10**17
        settings.QUOTAS = dict.fromkeys(settings.QUOTAS, 0)
        with pytest.raises(DiskFull, match="this needs 100,000,000,000 MB"):
            uploads.begin_upload(actor=owner, repository=repository, files=huge)
        assert not Upload.objects.exists()

    def test_is_by_default_a_share_of_a_small_disk_and_a_gigabyte_of_a_large_one(self, settings, tmp_path):
        settings.MIN_FREE_MB = None
        found = os.statvfs(tmp_path)
        assert disk._room(tmp_path)[1] == min(10**9, int(0.02 * found.f_blocks * found.f_frsize))

    def test_an_upload_is_abandoned_and_gives_its_bytes_back(self, owner, repository, settings):
        files = {"README.md": b"# Half\n" * 100}
        upload = factories.begin(owner, repository, files)
        uploads.append(upload=upload, path="README.md", offset=0, stream=io.BytesIO(files["README.md"][:50]))
        settings.MIN_FREE_MB = HUGE
        with pytest.raises(DiskFull):
            uploads.append(upload=upload, path="README.md", offset=50, stream=io.BytesIO(files["README.md"][50:]))
        assert uploads.refresh(upload)[0].received == 50
        assert Api(owner).delete(f"/uploads/{upload.pk}").status_code == 204
        assert not staging.folder(upload).exists() and not Upload.objects.exists()

    def test_a_card_that_is_refused_stays_in_its_form(self, owner, repository, settings):
        head = factories.publish(owner, repository, {"README.md": b"# Old\n"}).revision
        client = Client()
        client.force_login(owner)
        settings.MIN_FREE_MB = HUGE
        answer = client.post("/lab/sentiment/card", {"text": "# My long words", "head": head.oid, "message": "m"})
        assert answer.status_code == 507
        assert "nearly full" in answer.content.decode() and "# My long words" in answer.content.decode()

    def test_a_queued_job_waits_and_says_why(self, owner, base, settings, worker):
        job = a_merge(owner, base)
        settings.MIN_FREE_MB = HUGE
        assert worker.claim(job.pk) is None
        job.refresh_from_db()
        assert (job.state, job.attempt) == (State.QUEUED, 0)
        assert "nearly full" in job.message
        assert "nearly full" in Api(owner).get(f"/jobs/{job.pk}").json()["waiting_for"]
        settings.MIN_FREE_MB = 0
        run(worker.claim(job.pk), worker)
        job.refresh_from_db()
        assert job.state == State.DONE, job.error


def a_merge(owner, base) -> Job:
    pair = [factories.make_version(owner, name, base=base, seed=n) for n, name in enumerate(("one", "two"))]
    return asking.queue_job(actor=owner, kind="svd", recipe={"rank": 2}, inputs=pair, output=("owner", "both"))


@pytest.fixture
def small(settings, tmp_path):
    """A real disk of four megabytes that holds uploads and blobs, and `fill()` to fill it; skips without the right."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a file system")
    settings.UPLOAD_FOLDER = folder / "uploads"
    options = {**settings.STORAGES["blobs"], "OPTIONS": {"location": str(folder / "blobs")}}
    settings.STORAGES = {**settings.STORAGES, "blobs": options}
    settings.MIN_FREE_MB = 0

    def fill() -> None:
        with open(folder / "ballast", "wb", buffering=0) as out, contextlib.suppress(OSError):
            while True:
                out.write(b"x" * 4096)

    yield SimpleNamespace(folder=folder, fill=fill, ballast=folder / "ballast")
    subprocess.run(["umount", "-l", folder], check=True)


def files_of(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestAFullDisk:
    def test_cuts_an_upload_which_goes_on_when_there_is_room(self, small, owner, repository):
        api, data = Api(owner), os.urandom(5000) * 400
        files = {"notes.md": b"# " + data.hex().encode()[:2_000_000]}
        upload = api.begin("lab/sentiment", files).json()["id"]
        small.fill()
        answer = problem(api.send(upload, "notes.md", files["notes.md"], 0), 507, "disk.full")
        assert "full" in answer["detail"]
        small.ballast.unlink()
        (row,) = api.get(f"/uploads/{upload}").json()["files"]
        assert row["received"] < row["size"]
        assert api.send(upload, "notes.md", files["notes.md"][row["received"] :], row["received"]).status_code == 200
        assert api.post(f"/uploads/{upload}/commit").status_code == 201

    def test_an_upload_is_abandoned(self, small, owner, repository):
        files = {"README.md": b"# A card\n" * 9000}
        upload = factories.begin(owner, repository, files)
        factories.send(upload, files)
        small.fill()
        assert Api(owner).delete(f"/uploads/{upload.pk}").status_code == 204
        assert not staging.folder(upload).exists()

    def test_leaves_no_half_blob(self, small):
        small.fill()
        with pytest.raises(OSError, match="No space"):
            blobs.put(io.BytesIO(b"y" * 100_000))
        assert files_of(small.folder) == ["ballast"]

    def test_a_companion_is_refused_and_leaves_nothing(self, small, owner, repository):
        Api(owner).push("lab/sentiment", {"README.md": b"# A card\n"})
        before = files_of(small.folder)
        small.fill()
        rows = b'{"prompt": "a", "completion": "b"}\n' * 1000
        sent = Api(owner)("POST", "/repositories/lab/sentiment/companions?kind=seeds&name=a.jsonl", raw=rows)
        problem(sent, 507, "disk.full")
        assert files_of(small.folder) == sorted([*before, "ballast"])

    def test_a_job_is_put_off_and_runs_when_there_is_room(self, small, owner, base, worker):
        job = a_merge(owner, base)
        worker.cache.root = small.folder / "cache"
        worker.cache.root.mkdir()
        small.fill()
        for attempt in (1, 2, 3, 4):
            run(lease.claim(job.pk, worker=worker.name), worker)
            job.refresh_from_db()
            assert (job.state, job.attempt, job.lost) == (State.QUEUED, attempt, 0), job.error
            assert "disk is full" in job.message
            assert job.lease_until > timezone.now()
            assert lease.claim(job.pk, worker=worker.name) is None
            Job.objects.filter(pk=job.pk).update(lease_until=timezone.now())
        small.ballast.unlink()
        run(lease.claim(job.pk, worker=worker.name), worker)
        job.refresh_from_db()
        assert job.state == State.DONE, job.error
        assert not list(worker.cache.root.glob(".part-*"))


@pytest.mark.parametrize(
    "fault", ["database or disk is full", "attempt to write a readonly database", "database is locked"]
)
def test_reading_goes_on_where_nothing_can_be_written(
    owner, repository, settings, tmp_path, monkeypatch, caplog, fault
):
    """A token's use, a download's count, the audit log's entry and a rendered card are what a GET writes besides."""
    settings.CARD_CACHE = tmp_path / "cards"
    repository.visibility = "private"
    repository.save()
    files = {"README.md": b"# A card\n", **factories.adapter_files()}
    factories.publish(owner, repository, files, base=factories.make_base())
    api, client = Api(owner), Client(raise_request_exception=False)
    client.force_login(owner)

    def refused(*_, **__):
        raise OperationalError(fault)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(QuerySet, "update", refused)
    monkeypatch.setattr(QuerySet, "bulk_create", refused)
    monkeypatch.setattr(Path, "mkdir", full)
    answer = api.get("/repositories/lab/sentiment/files/main/adapter_model.safetensors")
    assert answer.status_code == 200, answer.content
    assert b"".join(answer) == files["adapter_model.safetensors"]
    assert "so this is not kept: download of lab/sentiment by owner" in caplog.text
    page = client.get("/lab/sentiment")
    assert page.status_code == 200 and "<h1>A card</h1>" in page.content.decode()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="limits the pages of SQLite's file")
def test_a_full_database_is_the_same_refusal(owner):
    api, base = Api(owner), {"name": "org/big", "config": {**factories.PICO_CONFIG, "x": "y" * 900_000}}
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA page_count")
        (pages,) = cursor.fetchone()
        cursor.execute(f"PRAGMA max_page_count = {pages + 20}")
    try:
        problem(api.post("/bases", base), 507, "disk.full")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA max_page_count = 4294967294")
    assert api.post("/bases", base).status_code == 201


def test_a_full_postgres_is_known_by_its_code():
    class Full(Exception):
        sqlstate = "53100"

    error = OperationalError("could not extend file")
    error.__cause__ = Full()
    assert isinstance(disk.refusal_of(error), DiskFull)
    assert disk.refusal_of(OperationalError("connection refused")) is None
