"""Restores: what is damaged costs no more than itself, releases that don't fit are refused, and secrets are read."""

import json
import shutil
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from hub import sealed as sealing
from hub.models import ManifestEntry, User
from hub.sealed import keys
from hub.services.upkeep import backup, fsck
from hub.storage import blobs
from tests.hub import factories
from tests.hub.upkeep.a_hub import bytes_of, damage, lose_everything, make_hub, rows

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("store")]


DAMAGES = {
    "a table": lambda at: damage(at / "tables/hub.user.jsonl"),
    "a table is gone": lambda at: (at / "tables/hub.user.jsonl").unlink(),
    "the list of blobs": lambda at: damage(at / "blobs.jsonl"),
    "the manifest": lambda at: (at / "manifest.json").write_text((at / "manifest.json").read_text().replace("1", "2")),
    "the manifest is cut": lambda at: (at / "manifest.json").write_text("{"),
    "bytes": lambda at: damage(next(at.parents[1].glob("blobs/*/*/*"))),
    "bytes are gone": lambda at: next(at.parents[1].glob("blobs/*/*/*")).unlink(),
}


def test_a_damaged_backup_changes_no_row(store, kept, tmp_path):
    make_hub()
    backup.back_up(kept)
    lose_everything(store)
    for number, (what, do) in enumerate(DAMAGES.items()):
        damaged = tmp_path / f"damaged{number}"
        shutil.copytree(kept, damaged)
        do(damaged / "snapshots" / backup.whole(kept)[0])
        with pytest.raises(CommandError, match=r"damaged|has changed"):
            call_command("restore", str(damaged))
        assert not User.objects.exists(), what
    call_command("restore", str(kept))
    assert User.objects.exists()


def kept_weights(hub, kept: Path) -> Path:
    entry = ManifestEntry.objects.get(revision__version=hub.other, path__endswith="safetensors")
    return kept / "blobs" / blobs.name(entry.blob_id)


@pytest.mark.parametrize("rot", [damage, Path.unlink])
def test_one_bad_blob_costs_no_more_than_itself(rot, store, kept, tmp_path, capsys):
    """The advice of the refusal is followed, and then the advice of what was restored."""
    hub = make_hub()
    backup.back_up(kept)
    shutil.copytree(kept, tmp_path / "elsewhere")
    bad = kept_weights(hub, kept)
    rot(bad)
    lose_everything(store)
    with pytest.raises(CommandError, match="1 blobs of this backup are missing or damaged") as refused:
        call_command("restore", str(kept))
    assert str(bad) in str(refused.value) and "--without-damaged" in str(refused.value)
    assert not User.objects.exists()
    call_command("restore", str(kept), "--without-damaged")
    assert bad.name in capsys.readouterr().out
    assert [finding.where for finding in fsck.check(fsck.look())] == [bad.name]
    call_command("fsck", "--repair", "--yes", "--blobs-from", str(tmp_path / "elsewhere"))
    assert not list(fsck.check(fsck.look()))


def test_bytes_that_were_lost_when_it_was_made_are_taken_where_they_are_now(store, kept):
    hub = make_hub()
    path = bytes_of(store, kept_weights(hub, kept).name)
    whole = path.read_bytes()
    damage(path)
    assert backup.back_up(kept).missing == [path.name]
    path.write_bytes(whole)
    backup.back_up(kept)
    lose_everything(store)
    call_command("restore", str(kept), "--name", backup.whole(kept)[0])
    assert not list(fsck.check(fsck.look()))


def test_a_database_of_a_later_release_is_left_alone(store, kept):
    make_hub()
    backup.back_up(kept)
    recorder = MigrationRecorder(connection)
    recorder.record_applied("hub", "9999_of_tomorrow")
    try:
        with pytest.raises(CommandError, match=r"migrated by a later release, with the migration hub\.9999"):
            call_command("restore", str(kept), "--replace", "--yes")
    finally:
        recorder.record_unapplied("hub", "9999_of_tomorrow")
    call_command("restore", str(kept), "--replace", "--yes")


def test_a_backup_of_an_earlier_release_takes_no_living_database_back(store, kept):
    make_hub()
    backup.back_up(kept)
    path = kept / "snapshots" / backup.whole(kept)[0] / "manifest.json"
    content = json.loads(path.read_text())
    content["migrations"] = [
        ["hub", "0003_event_keys"] if app == "hub" else [app, m] for app, m in content["migrations"]
    ]
    path.write_text(json.dumps({**content, "sha256": backup.digest_of(content)}))
    before, applied = rows(), MigrationRecorder(connection).applied_migrations()
    for options in ((), ("--replace", "--yes")):
        with pytest.raises(CommandError, match="Give an empty database"):
            call_command("restore", str(kept), *options)
    assert rows() == before and MigrationRecorder(connection).applied_migrations().keys() == applied.keys()


def test_only_an_empty_hub_is_restored_into_and_the_advice_is_followed(store, kept, monkeypatch):
    hub = make_hub()
    backup.back_up(kept)
    factories.make_user("later")
    with pytest.raises(CommandError, match="give --replace"):
        call_command("restore", str(kept))
    monkeypatch.setattr("builtins.input", lambda question: "n")
    with pytest.raises(CommandError, match="Nothing was changed"):
        call_command("restore", str(kept), "--replace")
    assert User.objects.filter(username="later").exists()
    call_command("restore", str(kept), "--replace", "--yes")
    assert not User.objects.filter(username="later").exists() and User.objects.filter(pk=hub.owner.pk).exists()


def restarted(settings) -> None:
    """The settings of the next process of this data folder."""
    settings.SECRET_KEY = keys.secret_key(settings.HUB_DATA)
    settings.SECRET_KEY_FALLBACKS = keys.old_secret_keys(settings.HUB_DATA)


@pytest.mark.parametrize("given", ["", "the key of a new site, which is long enough"])
def test_what_was_sealed_before_the_key_was_changed_is_read_after_a_restore(
    given, store, kept, settings, tmp_path, monkeypatch, capsys
):
    """A restored hub reads its secrets, whatever key it was given, and whichever key they were sealed with."""
    settings.HUB_DATA = tmp_path / "data"
    settings.HUB_DATA.mkdir()
    make_hub()
    sealed = [sealing.seal("of the first key", "test")]
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "a second key, long enough", [settings.SECRET_KEY]
    sealed.append(sealing.seal("of the second key", "test"))
    backup.back_up(kept, secrets=True)
    lose_everything(store)
    monkeypatch.setenv("HUB_SECRET_KEY", given)
    settings.HUB_DATA = tmp_path / "new"
    settings.HUB_DATA.mkdir()
    call_command("restore", str(kept))
    assert ("HUB_SECRET_KEY is not the backup's key" in capsys.readouterr().out) is bool(given)
    restarted(settings)
    assert (given or "a second key, long enough") == settings.SECRET_KEY
    assert [sealing.unseal(one, "test") for one in sealed] == ["of the first key", "of the second key"]
    assert (settings.HUB_DATA / "old_secret_keys.json").stat().st_mode & 0o77 == 0
    backup.back_up(kept, secrets=True)
    call_command("restore", str(kept), "--replace", "--yes")
    restarted(settings)
    assert [sealing.unseal(one, "test") for one in sealed] == ["of the first key", "of the second key"]


def test_a_file_of_old_keys_that_is_no_list_stops_the_start(tmp_path):
    (tmp_path / "old_secret_keys.json").write_text('{"a": 1}')
    with pytest.raises(ImproperlyConfigured, match="write a JSON list of keys, or remove the file"):
        keys.old_secret_keys(tmp_path)


def test_lost_bytes_are_named_and_the_rest_is_kept(store, kept):
    hub = make_hub()
    sha256 = ManifestEntry.objects.filter(revision__version=hub.other, path__endswith="safetensors").get().blob_id
    damage(bytes_of(store, sha256))
    with pytest.raises(CommandError, match="1 blobs are missing or damaged"):
        call_command("backup", str(kept))
    lose_everything(store)
    call_command("restore", str(kept))
    assert [finding.where for finding in fsck.check(fsck.look())] == [sha256]


def test_rot_in_the_folder_is_mended_by_a_backup_that_verifies(store, kept, capsys):
    """A disk changes one bit. The hub still has the bytes: they are restored from it, and copied again on request."""
    hub = make_hub()
    backup.back_up(kept)
    rotten = kept_weights(hub, kept)
    whole = rotten.read_bytes()
    damage(rotten)
    call_command("backup", str(kept))
    assert "--verify reads them as well" in capsys.readouterr().out
    call_command("restore", str(kept), "--replace", "--yes")
    assert not list(fsck.check(fsck.look()))
    call_command("backup", str(kept), "--verify")
    said = capsys.readouterr().out
    assert f"{rotten} is damaged" in said and "1 blobs had rotted" in said and rotten.read_bytes() == whole
    lose_everything(store)
    call_command("restore", str(kept))
    assert not list(fsck.check(fsck.look()))
