"""An older release beside a newer one deletes and repairs nothing: only the newer knows what is still needed."""

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from hub.errors import Conflict
from hub.models import UpkeepTask
from hub.services.starting import database
from hub.services.upkeep import releases, runner

pytestmark = pytest.mark.django_db


@pytest.fixture
def newer(db):
    """A later release has migrated the database of this one."""
    MigrationRecorder(connection).record_applied("hub", "9999_what_comes")


def test_this_release_knows_its_own_database():
    assert releases.later() == []
    releases.require_newest("gc")


def test_upkeep_is_left_to_the_newer_release(newer):
    runner.is_due()
    UpkeepTask.objects.update(next_at=timezone.now() - timezone.timedelta(days=1))
    assert not runner.is_due()
    with pytest.raises(Conflict, match="9999_what_comes") as refused:
        runner.run_due(names=["gc"])
    assert refused.value.code == "release.older"


@pytest.mark.parametrize("command", [["gc"], ["fsck", "--repair", "--yes"], ["upkeep", "--now", "gc"]])
def test_commands_that_delete_or_repair_refuse(newer, command):
    with pytest.raises(CommandError, match="9999_what_comes"):
        call_command(*command)


def test_looking_is_free_and_serving_goes_on(newer, capsys):
    call_command("fsck", "--quick")
    assert "No findings" in capsys.readouterr().out
    assert database.unapplied() == [], "it starts, and is ready"
