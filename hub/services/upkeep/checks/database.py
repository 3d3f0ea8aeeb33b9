"""The database itself: rows that point at rows which are gone, and SQLite's own check of its file."""

from collections.abc import Iterator

from django.apps import apps
from django.db import IntegrityError, connection

from hub.services.upkeep.checks.finding import Finding, Look


def check(look: Look) -> Iterator[Finding]:
    """Every table of the hub. PostgreSQL checks its keys at every write and has nothing to say here."""
    for model in apps.get_app_config("hub").get_models():
        look.tick("tables")
        try:
            connection.check_constraints(table_names=[model._meta.db_table])
        except IntegrityError as error:
            message = f"{error}. The row it belongs to is gone; restore a backup"
            yield Finding(code="database.key", where=model._meta.db_table, message=message)
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA quick_check(10)")
            for (said,) in cursor.fetchall():
                if said != "ok":
                    message = f"SQLite finds its file damaged: {said}; restore a backup"
                    yield Finding(code="database.file", where="database", message=message)
