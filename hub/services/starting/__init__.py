"""What happens before a process serves: one migrates, the others wait, and settings that don't fit stop the start.

    prepare(say=print, migrate=True)   # CannotStart with a sentence for whoever runs the hub

Any number of processes on any number of hosts may start at once, also on an empty database.
"""

from collections.abc import Callable

from hub.services.starting import keys, settings_checks, stores
from hub.services.starting.database import bring_up_to_date, wait_for_database, wait_for_migrations
from hub.services.starting.refusal import CannotStart

__all__ = ["CannotStart", "prepare"]


def prepare(*, say: Callable[[str], None], migrate: bool) -> None:
    """Wait for the database, migrate it or wait until somebody has, then check what all hosts must share."""
    settings_checks.require_broker()
    wait_for_database(say)
    if migrate:
        bring_up_to_date(say)
    else:
        wait_for_migrations(say)
    keys.require_the_sites_key()
    stores.require_the_sites_store(say)
