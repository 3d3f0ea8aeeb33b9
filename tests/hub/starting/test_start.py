"""What stops a start, and what it waits for; each in this process, on the test's own database."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection

from hub.models import SiteKey
from hub.sealed.keys import KEY, secret_key
from hub.services import starting
from hub.services.starting import CannotStart, database, keys, settings_checks, static_files, stores
from hub.storage import blobs
from hub.storage.folder import Folder
from tests.hub import factories
from tests.hub.starting import hosts


@pytest.mark.django_db
def test_the_first_key_is_the_sites_and_another_is_refused(settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "first" * 10, []
    keys.require_the_sites_key()
    keys.require_the_sites_key()
    settings.SECRET_KEY = "other" * 10
    with pytest.raises(CannotStart, match="HUB_SECRET_KEY"):
        keys.require_the_sites_key()
    assert SiteKey.objects.get().fingerprint == keys.fingerprint("first" * 10)
    assert "first" not in SiteKey.objects.get().fingerprint


@pytest.mark.django_db
def test_a_key_is_replaced_host_by_host(settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "first" * 10, []
    keys.require_the_sites_key()
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "second" * 10, ["first" * 10]
    keys.require_the_sites_key()
    # A host that still signs with the first key, and reads the second.
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "first" * 10, ["second" * 10]
    keys.require_the_sites_key()


@pytest.mark.django_db
def test_a_lost_key_is_given_up_by_a_command_of_its_own(settings, capsys):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "lost" * 10, []
    keys.require_the_sites_key()
    settings.SECRET_KEY = "new" * 20
    call_command("accept_secret_key")
    assert "second factors" in capsys.readouterr().out
    keys.require_the_sites_key()


def test_many_processes_of_one_new_host_make_one_key(tmp_path):
    start, found = threading.Barrier(8), []

    def look() -> None:
        start.wait()
        found.append(secret_key(tmp_path))

    threads = [threading.Thread(target=look) for _ in range(8)]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("HUB_SECRET_KEY", raising=False)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(found)) == 1 and len(found) == 8
    assert [path.name for path in tmp_path.iterdir()] == [KEY]
    assert (tmp_path / KEY).stat().st_mode & 0o077 == 0


@pytest.mark.django_db
def test_a_store_that_is_not_the_sites_is_refused(store, people):
    stores.require_the_sites_store(print)  # An empty hub has nothing to look for.
    version = factories.make_version(people.owner, "first", base=factories.make_base())
    stores.require_the_sites_store(print)
    for row in version.revision.entries.all():
        blobs.delete(row.blob_id)
    with pytest.raises(CannotStart, match="same STORAGE_URL"):
        stores.require_the_sites_store(print)


@pytest.mark.django_db
def test_a_store_that_is_away_for_now_stops_nothing_and_a_wrong_one_does(store, people, monkeypatch):
    said: list[str] = []
    factories.make_version(people.owner, "first", base=factories.make_base())

    def fail(error):
        for asked in ("exists", "probe"):
            monkeypatch.setattr(Folder, asked, lambda *_: (_ for _ in ()).throw(error))

    fail(ConnectionRefusedError(111, "refused"))
    stores.require_the_sites_store(said.append)
    assert "store can't be reached" in said[0]
    fail(PermissionError(13, "Permission denied"))
    with pytest.raises(CannotStart, match="STORAGE_URL"):
        stores.require_the_sites_store(said.append)


def test_without_a_broker_the_start_says_what_to_set(settings, tmp_path, monkeypatch):
    settings.HUB_DATA = tmp_path
    monkeypatch.delenv("REDIS_URL", raising=False)
    with pytest.raises(CannotStart, match="REDIS_URL is not set"):
        settings_checks.require_broker()
    (tmp_path / "valkey").mkdir()
    (tmp_path / "valkey" / "url").write_text("redis://127.0.0.1:6399/0")
    settings_checks.require_broker()


@pytest.mark.django_db
def test_a_database_that_is_away_is_waited_for_then_named(monkeypatch):
    said, tries = [], []

    def fail():
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "ensure_connection", fail)
    monkeypatch.setattr(connection, "close", lambda: None)
    monkeypatch.setattr(database, "SECONDS_A_TRY", 0.01)
    database.wait_for_database(said.append)
    assert said == ["waiting for the database: connection refused"]
    tries.clear()
    with pytest.raises(CannotStart, match="DATABASE_URL"):
        database.wait_for_database(said.append, seconds=0)


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["web", "worker", "beat"])
def test_what_stands_in_the_way_is_a_sentence_of_the_command(command, monkeypatch):
    def refuse(**_):
        raise CannotStart("This is why.")

    monkeypatch.setattr(f"hub.management.commands.{command}.prepare", refuse)
    monkeypatch.setattr("os.umask", lambda _: 0)
    with pytest.raises(CommandError, match="This is why"):
        call_command(command)


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["web", "worker", "beat"])
def test_who_waits_for_the_start_is_ended_by_a_signal(command, monkeypatch):
    """The wait for migrations has no end, and looks at no flag."""
    here = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def wait(**_):
        assert {number: signal.getsignal(number) for number in here} == here
        raise CannotStart("It waited.")

    monkeypatch.setattr(f"hub.management.commands.{command}.prepare", wait)
    monkeypatch.setattr("os.umask", lambda _: 0)
    try:
        with pytest.raises(CommandError, match="It waited"):
            call_command(command)
    finally:
        for number, handler in here.items():
            signal.signal(number, handler)


WRONG = {
    "DATABASE_URL": ("mysql://hub@db/hub", "use postgres://"),
    "REDIS_URL": ("http://redis:6379", "use redis://"),
    "STORAGE_URL": ("ftp://store", "use file:///folder or s3://"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_stops_the_start_with_one_line(name, tmp_path):
    value, said = WRONG[name]
    environment = {**os.environ, "HUB_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "hub.settings", name: value}
    ran = subprocess.run(
        [sys.executable, "manage.py", "beat"],
        cwd=hosts.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
    )
    (line,) = ran.stderr.strip().splitlines()
    assert ran.returncode == 1 and line.startswith("The hub does not start: ") and name in line and said in line


def test_who_does_not_migrate_waits_for_who_does(monkeypatch):
    answers, said = [["hub.0001_initial"], ["hub.0001_initial"], []], []
    monkeypatch.setattr(database, "unapplied", lambda: answers.pop(0))
    monkeypatch.setattr(database, "SECONDS_A_TRY", 0.001)
    database.wait_for_migrations(said.append)
    assert len(said) == 1 and "manage.py migrate" in said[0]


@pytest.mark.django_db(transaction=True)
def test_one_migrates_at_a_time():
    """On SQLite by a locked file, on PostgreSQL by an advisory lock: who comes second waits, and says so."""
    inside, most, said = [], [], []

    def migrate() -> None:
        with database.migrating(say=said.append):
            inside.append(1)
            most.append(len(inside))
            held.wait(1)
            inside.pop()
        connection.close()

    held = threading.Event()
    threads = [threading.Thread(target=migrate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1]
    assert "another process migrates" in said[0]


def test_static_files_are_collected_once(settings, tmp_path, monkeypatch):
    settings.STATIC_ROOT = tmp_path / "static"
    settings.STATIC_ROOT.mkdir()
    calls = []
    monkeypatch.setattr(static_files, "call_command", lambda *_, **__: calls.append(1))
    static_files.collect_static()
    static_files.collect_static()
    assert calls == [1]


@pytest.mark.django_db
def test_the_start_asks_in_this_order(monkeypatch):
    asked = []
    for module, name in (
        (settings_checks, "require_broker"),
        (starting, "wait_for_database"),
        (starting, "bring_up_to_date"),
        (starting, "wait_for_migrations"),
        (keys, "require_the_sites_key"),
        (stores, "require_the_sites_store"),
    ):
        monkeypatch.setattr(module, name, lambda *_, name=name: asked.append(name))
    starting.prepare(say=print, migrate=True)
    assert asked == [
        "require_broker",
        "wait_for_database",
        "bring_up_to_date",
        "require_the_sites_key",
        "require_the_sites_store",
    ]
    asked.clear()
    starting.prepare(say=print, migrate=False)
    assert "bring_up_to_date" not in asked and "wait_for_migrations" in asked
