"""What the audit log holds once, however often it happens: downloads of private files, a token at a new address.

A process remembers what it has noted, so that a repetition costs a look into a dictionary. What it doesn't remember
is one insert, and the database refuses a second event of the same `once`; so it is once also with several processes.
Where the database can't be written, reading goes on, and the server's log has what the audit log lacks.
"""

import hashlib
import ipaddress
import time
from collections import OrderedDict
from threading import Lock

from django.db import transaction

from hub import faults, origin
from hub.models import Repository, Token, User, Visibility
from hub.services.audit import record

HOUR = 3600
REMEMBERED = 20_000
_noted: OrderedDict[str, None] = OrderedDict()
_lock = Lock()


def note_download(
    *,
    actor: User | None,
    repository: Repository,
    path: str,
    revision: str,
    visibility: str | None = None,
    now: float | None = None,
) -> None:
    """Note that `actor` fetched bytes of a private or gated file, once for each user, file, revision and hour.

    `revision` is the revision's id, of what is kept beside a repository its SHA-256; then `visibility` is its own.
    """
    if not repository.is_restricted and visibility != Visibility.PRIVATE:
        return
    hour = int((time.time() if now is None else now) // HOUR)
    key = f"download:{actor and actor.pk}:{repository.pk}:{revision}:{path}:{hour}"
    _note(key, actor, "download", repository, path=path, revision=revision)


def note_address(token: Token) -> None:
    """Note the first use of a token from an address; of IPv6 from a network of 64 bits, which is one customer's."""
    found = origin.address()
    if found is None:
        return
    place = ipaddress.ip_address(found)
    if place.version == 6:
        place = ipaddress.ip_network((place, 64), strict=False)
    _note(f"token:{token.pk}:{place}", token.user, "token.address", token.prefix, name=token.name)


def _note(key: str, actor: User | None, verb: str, object: object, **detail: object) -> None:
    once = hashlib.sha256(key.encode()).hexdigest()
    with _lock:
        if once in _noted:
            return
    with faults.spared(f"{verb} of {object} by {actor}: {detail}"):
        record(actor, verb, object, once=once, **detail)
        transaction.on_commit(lambda: _remember(once))


def _remember(once: str) -> None:
    with _lock:
        _noted[once] = None
        if len(_noted) > REMEMBERED:
            _noted.popitem(last=False)
