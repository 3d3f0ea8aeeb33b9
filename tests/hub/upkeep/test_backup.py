"""Backups: whole or not at all, consistent while the hub works, and restored so that everything goes on."""

import errno
import json
import shutil
import threading
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import connection

from hub.models import Job, Repository, Revision, UpkeepTask, User, Version
from hub.services import repositories
from hub.services.content.collection import collect_blobs
from hub.services.upkeep import backup, fsck, tables
from hub.services.upkeep.leases import BACKUP, lease
from hub.services.upkeep.purge import purge_repository
from hub.storage import blobs
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.upkeep.a_hub import damage, lose_everything, make_hub, rows
from workers.runner import run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]


def test_everything_comes_back_and_goes_on(store, kept, worker, settings, tmp_path, capsys):
    settings.HUB_DATA = tmp_path
    hub = make_hub()
    before = rows()
    call_command("backup", str(kept))
    said = capsys.readouterr().out
    assert (
        "is whole" in said and "sessions end, and the secrets of second factors and webhooks need the old key" in said
    )
    lose_everything(store)
    call_command("restore", str(kept))
    assert "need the old key" in capsys.readouterr().out
    assert rows() == before
    assert not list(fsck.check(fsck.look()))
    answer = Api(secret=hub.secret).get("/repositories/lab/other")
    assert answer.status_code == 200, "the token of a member reads what is private"
    factories.push(User.objects.get(pk=hub.owner.pk), hub.repository, factories.adapter_files(seed=77))
    job = worker.claim(hub.job.pk)
    run(job, worker)
    assert Job.objects.get(pk=hub.job.pk).state == "done", Job.objects.get(pk=hub.job.pk).error
    assert not list(fsck.check(fsck.look()))


def test_a_second_backup_copies_what_is_new_and_old_ones_go(store, kept, capsys):
    hub = make_hub()
    first = backup.back_up(kept)
    assert first.copied == first.blobs > 0
    assert backup.back_up(kept).copied == 0
    factories.push(hub.owner, hub.repository, factories.adapter_files(seed=31))
    assert backup.back_up(kept).copied == 1, "the new weights alone"
    repositories.delete_repository(actor=hub.owner, repository=hub.generator.repository)
    purge_repository(actor=hub.owner, repository=hub.generator.repository)
    (next(kept.glob("blobs/*/*")) / ".part-killed").write_bytes(b"half")
    call_command("backup", str(kept), "--keep", "1", "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["copied"], said["removed"]) == (0, 3) and said["freed_bytes"] > 0
    assert len(backup.whole(kept)) == 1 and not list(kept.rglob(".part-*"))
    lose_everything(store)
    call_command("restore", str(kept))
    assert not list(fsck.check(fsck.look()))


def cut(*_) -> None:
    raise KeyboardInterrupt


def test_a_backup_that_was_cut_is_never_taken_for_whole(store, kept, monkeypatch):
    make_hub()
    backup.back_up(kept)
    (whole,) = backup.whole(kept)
    factories.push(User.objects.get(username="owner"), Repository.objects.first(), factories.adapter_files(seed=31))
    for place in ((tables, "_write"), (backup, "_copy"), (backup.os, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(*place, cut)
            with pytest.raises(KeyboardInterrupt):
                backup.back_up(kept)
        assert backup.whole(kept) == [whole], place
    lose_everything(store)
    call_command("restore", str(kept))
    assert Revision.objects.filter(version__number=3).count() == 0
    backup.back_up(kept)
    assert len(backup.whole(kept)) == 2 and not list((kept / "snapshots").glob(".part-*"))


def test_what_a_disk_can_not_read_is_a_missing_blob_and_no_end(store, kept, monkeypatch):
    make_hub()
    backup.back_up(kept)
    shutil.rmtree(kept / "blobs")

    def fail(count: int):
        raise OSError(errno.EIO, "Input/output error")

    streams = iter([SimpleNamespace(read=fail)])
    real = blobs.open
    monkeypatch.setattr(blobs, "open", lambda sha256: nullcontext(next(streams, None) or real(sha256)))
    done = backup.back_up(kept)
    assert len(done.missing) == 1 and done.copied == done.blobs > 1


def test_nothing_is_removed_beside_a_backup_whose_list_is_damaged(store, kept):
    make_hub()
    backup.back_up(kept)
    backup.back_up(kept)
    first, there = backup.whole(kept)[0], sorted(kept.glob("blobs/*/*/*"))
    damage(kept / "snapshots" / first / "blobs.jsonl")
    (kept / "snapshots" / first / "blobs.jsonl").write_text("[")
    with pytest.raises(CommandError, match="nobody knows which bytes"):
        call_command("backup", str(kept), "--keep", "3")
    assert sorted(kept.glob("blobs/*/*/*")) == there
    shutil.rmtree(kept / "snapshots" / first)
    call_command("backup", str(kept), "--keep", "1")
    assert len(backup.whole(kept)) == 1


def test_what_can_not_be_restored_says_so(store, kept, tmp_path, worker):
    make_hub()
    with pytest.raises(CommandError, match="holds no backup"):
        call_command("restore", str(tmp_path))
    backup.back_up(kept)
    with pytest.raises(CommandError, match="there are 2"):
        call_command("restore", str(kept), "--name", "other")
    worker.heartbeat.beat()
    with pytest.raises(CommandError, match="Stop it, then restore"):
        call_command("restore", str(kept), "--replace", "--yes")
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="can't be written to"):
        call_command("backup", str(tmp_path / "file"))
    with lease(BACKUP), pytest.raises(CommandError, match="Another backup is running"):
        call_command("backup", str(kept))


def test_secrets_are_in_it_where_they_are_asked_for(store, kept, client, settings, tmp_path, monkeypatch):
    settings.HUB_DATA = tmp_path / "data"
    settings.HUB_DATA.mkdir()
    hub = make_hub()
    client.force_login(hub.owner)
    backup.back_up(kept)
    text = b"".join(path.read_bytes() for path in kept.rglob("*") if path.is_file())
    assert settings.SECRET_KEY.encode() not in text and client.session.session_key.encode() not in text
    backup.back_up(kept, secrets=True)
    lose_everything(store)
    monkeypatch.delenv("HUB_SECRET_KEY")
    call_command("restore", str(kept))
    assert Session.objects.filter(pk=client.session.session_key).exists()
    path = settings.HUB_DATA / "secret_key"
    assert path.read_text() == settings.SECRET_KEY and path.stat().st_mode & 0o77 == 0


def test_what_is_let_go_while_a_backup_runs_is_still_copied(store, kept, monkeypatch):
    """The worst moment: rows are read, bytes are not; then a repository is purged and the collector comes."""
    hub = make_hub()
    copy = backup._copy_blobs

    def purge_first(*given):
        repositories.delete_repository(actor=hub.owner, repository=hub.generator.repository)
        purge_repository(actor=hub.owner, repository=hub.generator.repository)
        assert collect_blobs(grace=timedelta(0)).files == 0
        return copy(*given)

    monkeypatch.setattr(backup, "_copy_blobs", purge_first)
    assert backup.back_up(kept).missing == []
    assert collect_blobs(grace=timedelta(0)).files > 0, "when the backup has ended, it goes"
    lose_everything(store)
    call_command("restore", str(kept))
    assert not list(fsck.check(fsck.look())) and Version.objects.filter(pk=hub.generator.pk).exists()


def test_a_backup_that_lost_its_lease_ends(kept, monkeypatch):
    make_hub()
    dump = tables.dump

    def sleep(*given, **more):
        UpkeepTask.objects.filter(name=BACKUP).update(lease_until=None, holder="")
        return dump(*given, **more)

    monkeypatch.setattr(tables, "dump", sleep)
    monkeypatch.setattr(backup, "lease", lambda name: lease(name, seconds=0.01))
    with pytest.raises(CommandError, match="start it again"):
        call_command("backup", str(kept))
    assert backup.whole(kept) == []


def work(hub, stop: threading.Event, failures: list) -> None:
    """Push, delete for good and collect until told to stop."""
    number = 0
    try:
        while not stop.is_set() or number < 3:
            number += 1
            name = f"w{threading.get_ident()}-{number}"
            repository = factories.make_repository(hub.owner, name, namespace=hub.lab)
            version = factories.push(hub.owner, repository, factories.adapter_files(seed=number)).version
            factories.publish(hub.owner, hub.merged.repository, factories.adapter_files(seed=number), parents=[version])
            if number % 2:
                repositories.delete_repository(actor=hub.owner, repository=repository)
                purge_repository(actor=hub.owner, repository=repository)
            collect_blobs(grace=timedelta(seconds=5))
    except Exception as error:
        failures.append(error)
    finally:
        connection.close()


@pytest.mark.slow
def test_a_backup_under_load_is_a_whole_hub(store, kept):
    hub, stop, failures = make_hub(), threading.Event(), []
    threads = [threading.Thread(target=work, args=(hub, stop, failures)) for _ in range(2)]
    for thread in threads:
        thread.start()
    done = [backup.back_up(kept) for _ in range(3)]
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not failures, failures
    assert [one.missing for one in done] == [[], [], []]
    for name in backup.whole(kept):
        lose_everything(store)
        call_command("restore", str(kept), "--name", name)
        found = list(fsck.check(fsck.look()))
        assert not found, found[:3]
    assert Api(secret=hub.secret).get("/repositories/lab/other").status_code == 200


def test_an_object_store_is_backed_up_and_restored_as_well(tmp_path, kept, bucket):
    make_hub()
    backup.back_up(kept)
    lose_everything(tmp_path)
    for sha256 in list(blobs.walk()):
        blobs.delete(sha256)
    call_command("restore", str(kept))
    assert not list(fsck.check(fsck.look()))
    assert blobs.local_path("0" * 64) is None
