"""One consistent view of the database while others write: a second connection in one read transaction.

SQLite in WAL mode gives a reader the state of its first query, and PostgreSQL does with REPEATABLE READ. Neither keeps
a writer waiting.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.utils import load_backend

from hub.models import Blob

ALIAS = "snapshot"


@contextmanager
def snapshot() -> Iterator[str]:
    """The alias of a connection that sees the database as it is now until the block ends; nothing can be written."""
    given = copy.deepcopy(connections[DEFAULT_DB_ALIAS].settings_dict)
    vendor = connections[DEFAULT_DB_ALIAS].vendor
    if vendor == "sqlite":
        given["OPTIONS"] = {"transaction_mode": "DEFERRED", "timeout": 30, "init_command": "PRAGMA query_only=ON;"}
    else:
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        options = {name: value for name, value in given.get("OPTIONS", {}).items() if name != "pool"}
        given["OPTIONS"] = options | {"isolation_level": IsolationLevel.REPEATABLE_READ}
    reader = load_backend(given["ENGINE"]).DatabaseWrapper(given, ALIAS)
    reader.ensure_connection()
    connections.databases[ALIAS], connections[ALIAS] = given, reader
    try:
        with transaction.atomic(using=ALIAS):
            Blob.objects.using(ALIAS).exists()  # The first query takes the snapshot.
            yield ALIAS
    finally:
        reader.close()
        del connections[ALIAS]
        del connections.databases[ALIAS]
