"""Whether a later release has changed this database: then only that one knows what is still needed.

While two releases run side by side the older one serves, and leaves deleting and repairing to the newer.
"""

from django.db import connection
from django.db.migrations.loader import MigrationLoader

from hub.errors import Conflict


def later() -> list[str]:
    """The hub's migrations that are applied here and that this release doesn't have, in their order."""
    loader = MigrationLoader(connection)
    return sorted(name for app, name in set(loader.applied_migrations) - set(loader.disk_migrations) if app == "hub")


def require_newest(what: str) -> None:
    """Conflict where a later release has migrated this database."""
    if found := later():
        raise Conflict(
            f"This database was migrated by a later release (hub.{found[-1]}), which may need what this release would "
            f"take for garbage or damage. Run {what} with that release.",
            code="release.older",
        )
