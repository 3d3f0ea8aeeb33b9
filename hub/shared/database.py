"""How many connections to PostgreSQL a process holds, as settings of Django's.

Threads share a pool, which gives each a connection from its first query to the end of its request. So a web process
with 32 threads, of which most wait for a reader or a disk, takes no more than the pool has.
"""

from collections.abc import Mapping

from django.core.exceptions import ImproperlyConfigured

# A thread that waits longer for a connection answers 503; the same where the server is away.
SECONDS_TO_WAIT = 3.0
# After that a pool stops trying for itself, and the next who needs a connection tries anew.
SECONDS_TO_RECONNECT = 3.0
SECONDS_IDLE = 120.0
SCHEMES = ("postgres", "postgresql", "sqlite")


def require_known(url: str) -> str:
    """The address, if it is of a database that the hub runs on; else ImproperlyConfigured."""
    if url.partition("://")[0] not in SCHEMES:
        raise ImproperlyConfigured(
            f"DATABASE_URL begins with {url.partition('://')[0][:20]!r}: use postgres://user:password@host/name or "
            "sqlite:////path/to/file"
        )
    return url


def connection_settings(most: int, *, pooler: bool, there: Mapping[str, object]) -> dict[str, object]:
    """What to change in a database's settings `there` so that a process holds `most` connections; 0 is one a thread.

    Behind a pooler that gives a connection for one transaction only (PgBouncer's `transaction` mode) nothing may
    outlive a transaction, so cursors on the server are off.
    """
    if most < 0:
        raise ImproperlyConfigured(f"HUB_DATABASE_CONNECTIONS={most}: use a number above 0, or 0 for one a thread")
    changed: dict[str, object] = {"DISABLE_SERVER_SIDE_CURSORS": True} if pooler else {}
    if not most:
        return changed
    pool = {"min_size": 1, "max_size": most, "timeout": SECONDS_TO_WAIT, "max_idle": SECONDS_IDLE}
    pool["reconnect_timeout"] = SECONDS_TO_RECONNECT
    options = {"pool": pool} | dict(there.get("OPTIONS") or {})
    # Each connection is tried before a request gets it, which is the pool's own check.
    return changed | {"CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": True, "OPTIONS": options}
