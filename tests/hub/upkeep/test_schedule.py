"""What runs by itself: one runner at a time, every outcome kept, each setting obeyed from both sides."""

import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings as given
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from hub.models import Blob, Event, Job, JobFile, JobLog, Outbox, Repository, UpkeepTask, Upload
from hub.services import outbox, repositories
from hub.services.jobs import files as job_files
from hub.services.upkeep import batches, garbage, runner
from hub.services.upkeep.leases import BACKUP, RUNNER, lease
from hub.services.upkeep.purge import purge_repository
from hub.services.upkeep.schedule import SCHEDULE, Task
from hub.storage import blobs
from tests.hub import asking, factories
from workers.heartbeat import Heartbeat

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("store")]


def ago(**time: float):
    return timezone.now() - timedelta(**time)


@pytest.fixture
def version(people, base):
    return factories.make_version(people.owner, "parent", base=base)


@pytest.fixture
def job(people, version) -> Job:
    made = asking.queue_job(actor=people.owner, kind="lego", recipe={"rank": 2}, inputs=[version], output=("lab", "x"))
    Job.objects.filter(pk=made.pk).update(state="failed", finished_at=ago(days=10))
    return Job.objects.get(pk=made.pk)


def an_event(things) -> None:
    Event.objects.update(created_at=ago(days=10))


def a_log(things) -> None:
    JobLog.objects.create(job=things["job"], attempt=1, text="a line")
    JobLog.objects.update(at=ago(days=10))


def a_job_file(things) -> None:
    sha256, size = blobs.add(__file__)
    blob = Blob.objects.create(sha256=sha256, size=size)
    JobFile.objects.create(job=things["job"], role="seeds", name="seeds", blob=blob, digest=sha256)


def an_outbox_row(things) -> None:
    Outbox.objects.create(topic="toy", sent_at=ago(days=10))


def an_upload(things) -> None:
    factories.begin(things["owner"], things["version"].repository, factories.adapter_files(seed=5))
    Upload.objects.update(touched_at=ago(days=10))


def in_the_trash(things) -> None:
    repository = factories.make_repository(things["owner"], "gone")
    repositories.delete_repository(actor=things["owner"], repository=repository)
    Repository.objects.filter(pk=repository.pk).update(deleted_at=ago(days=10))


# task → (setting, what is put there ten days ago, what is counted)
KEPT = {
    "trash": ("KEEP_TRASH_DAYS", in_the_trash, lambda: Repository.objects.filter(name="gone").count()),
    "job-files": ("KEEP_JOB_FILES_DAYS", a_job_file, lambda: JobFile.objects.filter(blob__isnull=False).count()),
    "job-logs": ("KEEP_JOB_LOGS_DAYS", a_log, JobLog.objects.count),
    "jobs": ("KEEP_JOBS_DAYS", lambda things: None, Job.objects.count),
    "events": ("KEEP_EVENTS_DAYS", an_event, lambda: Event.objects.filter(created_at__lt=ago(days=1)).count()),
    "outbox": ("KEEP_OUTBOX_DAYS", an_outbox_row, Outbox.objects.count),
    "gc": ("KEEP_UPLOADS_DAYS", an_upload, Upload.objects.count),
}


RACES = {
    "restored": lambda row: Repository.objects.filter(pk=row.pk).update(deleted_at=None),
    "restored and deleted again": lambda row: Repository.objects.filter(pk=row.pk).update(deleted_at=timezone.now()),
    "deleted for good": lambda row: purge_repository(actor=None, repository=row),
}


@pytest.mark.parametrize("what", RACES)
def test_what_happens_to_the_trash_meanwhile_fails_no_upkeep(what, people, settings, monkeypatch):
    """The list was read already: each is looked at again before it goes, and the others go."""
    for name in ("first", "second"):
        row = factories.make_repository(people.owner, name)
        repositories.delete_repository(actor=people.owner, repository=row)
    Repository.objects.update(deleted_at=ago(days=40))
    first = Repository.objects.get(name="first")
    rows = batches.rows

    def race(found):
        for some in rows(found):
            if first in some:
                RACES[what](first)
            yield some

    monkeypatch.setattr(batches, "rows", race)
    (row,) = runner.run_due(names=["trash"])
    assert row.outcome == "done" and row.message.startswith("1 repositories deleted"), row.message
    left = list(Repository.objects.values_list("name", flat=True))
    assert left == ([] if what == "deleted for good" else ["first"])


@pytest.mark.parametrize("name", KEPT)
def test_what_is_old_goes_and_what_is_younger_or_kept_for_ever_stays(name, people, version, job, settings):
    setting, put, count = KEPT[name]
    put({"job": job, "owner": people.owner, "version": version})
    there = count()
    assert there
    for days in (0, 11):
        setattr(settings, setting, days)
        (row,) = runner.run_due(names=[name])
        assert (row.outcome, count()) == ("done", there), (days, row.message)
    setattr(settings, setting, 9)
    (row,) = runner.run_due(names=[name])
    assert (row.outcome, count()) == ("done", 0), row.message


def test_every_setting_of_the_schedule_is_a_setting_and_every_kept_setting_is_in_the_schedule():
    named = {word.strip() for task in SCHEDULE.values() for word in task.setting.split(",") if word}
    assert named == {f"HUB_{name}" for name in dir(given) if name.startswith("KEEP_")}
    documented = Path(given.ROOT, "docs/settings.md").read_text()
    assert all(f"`{name}`" in documented for name in named)


def test_a_job_that_is_under_way_is_never_old(people, version, job, settings):
    settings.KEEP_JOBS_DAYS = settings.KEEP_JOB_LOGS_DAYS = 1
    Job.objects.update(state="running", finished_at=None)
    a_log({"job": job})
    runner.run_due(names=["jobs", "job-logs"])
    assert (Job.objects.count(), JobLog.objects.count()) == (1, 1)


def test_expired_sessions_go_and_living_ones_stay(client, people):
    client.force_login(people.owner)
    Session.objects.create(session_key="old", session_data="", expire_date=ago(days=1))
    runner.run_due(names=["sessions"])
    assert Session.objects.count() == 1 and not Session.objects.filter(pk="old").exists()


@pytest.fixture
def toy(monkeypatch):
    """The schedule is one task that does what the test says; it is due now."""

    def toy(run) -> UpkeepTask:
        task = Task(name="toy", every=1000, summary="a toy", run=run)
        monkeypatch.setattr(runner, "SCHEDULE", {"toy": task})
        assert not runner.is_due(), "the first run comes one time after the task is known"
        UpkeepTask.objects.filter(name="toy").update(next_at=ago(seconds=1))
        assert runner.is_due()
        return UpkeepTask.objects.get(name="toy")

    return toy


def test_outcome_and_next_run_are_kept(toy):
    toy(lambda go_on: "3 things done")
    (row,) = runner.run_due()
    assert (row.outcome, row.message) == ("done", "3 things done")
    assert timedelta(seconds=990) < row.next_at - timezone.now() <= timedelta(seconds=1000)
    assert runner.run_due() == [], "it is not due again"


def test_what_a_task_raises_is_its_outcome_and_the_others_run(toy):
    def broken(go_on):
        raise OSError("the disk is on fire")

    toy(broken)
    (row,) = runner.run_due()
    assert (row.outcome, row.message) == ("failed", "OSError: the disk is on fire")
    assert row.next_at - timezone.now() <= timedelta(seconds=600)


def test_a_task_that_is_told_to_stop_is_due_again_in_a_minute(toy):
    told = iter([True, True, False])

    def steps(go_on):
        return f"{sum(1 for _ in iter(go_on, False))} steps"

    toy(steps)
    (row,) = runner.run_due(lambda: next(told))
    assert (row.outcome, row.message) == ("stopped", "1 steps") or row.outcome == "stopped"
    assert row.next_at - timezone.now() <= timedelta(seconds=60)


def test_it_runs_forever_until_it_is_told_to_stop(toy):
    ran = []
    toy(lambda go_on: ran.append(1) or "ran")
    runner.run_forever(lambda: not ran, seconds=0.01)
    assert ran == [1]


@pytest.mark.parametrize(("value", "ok"), [("0", True), ("7", True), ("-1", False), ("soon", False), ("1.5", False)])
def test_a_wrong_setting_stops_the_start_with_a_sentence(value, ok, monkeypatch):
    from hub.bounds import _kept

    monkeypatch.setenv("HUB_KEEP_TRASH_DAYS", value)
    if ok:
        assert _kept("HUB_KEEP_TRASH_DAYS", 30) == int(value)
    else:
        with pytest.raises(ImproperlyConfigured, match="use a whole number"):
            _kept("HUB_KEEP_TRASH_DAYS", 30)
    monkeypatch.setenv("HUB_KEEP_UNUSED_HOURS", "0")
    with pytest.raises(ImproperlyConfigured, match="at least 1"):
        _kept("HUB_KEEP_UNUSED_HOURS", 24, fewest=1)


def test_a_second_runner_does_nothing_and_a_dead_one_is_followed(toy):
    toy(lambda go_on: "done")
    with lease(RUNNER) as held:
        assert held and not runner.is_due() and runner.run_due() is None
        with pytest.raises(CommandError, match="Another process"):
            call_command("upkeep")
        UpkeepTask.objects.filter(name=RUNNER).update(lease_until=ago(seconds=1))
        assert runner.is_due()
        held._renewed -= held.seconds
        assert [row.outcome for row in runner.run_due()] == ["done"]
        assert not held.renew(), "the dead one, if it wakes, has lost its lease"


@pytest.mark.django_db(transaction=True)
def test_two_runners_at_once_run_a_task_once(toy):
    ran, gate = [], threading.Barrier(2)
    toy(lambda go_on: ran.append(1) or "ran")

    def run():
        gate.wait()
        runner.run_due()
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ran == [1]


@pytest.mark.django_db(transaction=True)
def test_the_heartbeat_runs_it_beside_itself_and_ends_it_when_the_worker_stops(toy):
    working = threading.Event()

    def long(go_on):
        working.set()
        while go_on():
            time.sleep(0.01)
        return "told to stop"

    toy(long)
    beating = Heartbeat(SimpleNamespace(name="w"))
    beating.keep_up()
    assert working.wait(30), "the heartbeat's own thread came back at once"
    first = beating._keeper
    beating.keep_up()
    assert beating._keeper is first, "one at a time"
    beating.stop_work()
    first.join(30)
    assert UpkeepTask.objects.get(name="toy").outcome == "stopped"


def test_the_commands_advice_is_followed(capsys):
    with pytest.raises(CommandError, match="choose from job-files, outbox"):
        call_command("upkeep", "--now", "bogus")
    call_command("upkeep", "--now", "outbox", "sessions")
    call_command("upkeep", "--list")
    shown = capsys.readouterr().out
    assert "outbox     done" in shown and "gc         last never" in shown


def test_page_and_api_show_it_to_administrators(client, people):
    people.owner.is_staff = True
    people.owner.save()
    client.force_login(people.owner)
    runner.run_due(names=["outbox"])
    page = client.get("/admin/upkeep").content.decode()
    assert "0 sent rows deleted" in page and "every 30 minutes" in page and "HUB_KEEP_TRASH_DAYS=30" in page
    rows = {row["name"]: row for row in client.get("/api/v1/upkeep").json()}
    assert rows["outbox"]["outcome"] == "done" and list(rows) == list(SCHEDULE)


def test_leftovers_of_killed_workers_go_and_those_at_work_stay(settings, tmp_path):
    settings.WORKER_CACHE, settings.WORKER_BASES = str(tmp_path / "cache"), str(tmp_path / "bases")
    kept = [tmp_path / "cache/abc", tmp_path / "bases/org/model", tmp_path / "cache/.part-busy"]
    kept += [tmp_path / "bases/.hf-snapshot", tmp_path / "bases/org/.model-abcdefgh"]
    gone = [tmp_path / "cache/.part-x1", tmp_path / "bases/org/.hub-part-model-x1", tmp_path / "bases/.hub-part-x1"]
    for folder in kept + gone:
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"12345")
        for path in (folder / "weights", folder):
            os.utime(path, (1, 1))
    os.utime(tmp_path / "cache/.part-busy/weights")
    assert garbage.collect_garbage(dry_run=True).leftover_bytes == 15
    assert all(map(Path.exists, kept + gone))
    assert garbage.collect_garbage().leftovers == 3
    assert all(map(Path.exists, kept)) and not any(map(Path.exists, gone))


def test_what_a_killed_conversion_leaves_is_a_leftover(settings, tmp_path, monkeypatch):
    """The one who makes such folders and the one who removes them agree on their name."""
    from composition.running import base_models

    settings.WORKER_CACHE, settings.WORKER_BASES = str(tmp_path / "cache"), str(tmp_path / "bases")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(base_models, "_dequantise", killed)
    with monkeypatch.context() as patch:
        patch.setattr(base_models.shutil, "rmtree", lambda *given, **more: None)
        with pytest.raises(KeyboardInterrupt):
            base_models.convert_gguf(tmp_path / "x.gguf", tmp_path / "bases/org/model")
    (left,) = (tmp_path / "bases/org").iterdir()
    assert not list(garbage.leftovers(timedelta(hours=1)))
    os.utime(left, (1, 1))
    assert list(garbage.leftovers(timedelta(hours=1))) == [left]


def test_no_blob_is_deleted_while_a_backup_runs(capsys):
    sha256, _ = blobs.add(__file__)
    with lease(BACKUP):
        call_command("gc", "--grace-hours", "0")
        assert "A backup is running" in capsys.readouterr().out and blobs.exists(sha256)
    call_command("gc", "--grace-hours", "0")
    assert not blobs.exists(sha256)


def test_nothing_of_upkeep_is_due_or_purged_by_a_fresh_hub():
    assert not runner.is_due()
    assert (outbox.purge(), job_files.purge()) == (0, 0)
