"""Bringing a base in: in a thread of this process, one at a time for each base over all processes, two here at most.

Who asks waits a moment; what takes longer goes on, and clients are told to ask again. A failure is remembered for ten
minutes, so that no client makes the hub ask the same again and again.
"""

import hashlib
import logging
import threading
import time

from django.conf import settings
from django.db import connection, transaction

from composition.errors import CompositionError
from hub import queries
from hub.errors import HubError
from hub.models import BaseModel, User, fold
from hub.names import BASE_NAME
from hub.services import base_files
from hub.services.audit import record
from hub.services.base_configs import checked_config, read_config
from hub.services.bases import register_base
from hub.services.content.manifest import Manifest, read_whole, sources_of
from hub.services.mirror.fetching import Model, fetch, look_up
from hub.services.mirror.guard import NotFetched, is_wanted
from hub.services.upkeep.leases import lease

log = logging.getLogger(__name__)
WAITS, WAITS_FOR_ANOTHER = 15.0, 1.0  # seconds that a request waits for a fetch it began, or another did
MOST_WAITING = 20
FORGET_SECONDS = 600.0
AT_ONCE = threading.BoundedSemaphore(2)
_lock = threading.Lock()
_under_way: dict[str, threading.Thread] = {}
_failed: dict[str, tuple[float, str]] = {}


class Fetching(HubError):
    """The base is on its way; clients ask again by themselves."""

    status, code = 503, "base.fetching"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is being fetched from {settings.MIRROR}. Ask again in a moment.")
        self.headers = {"Retry-After": "5"}


def bring(actor: User | None, name: str) -> bool:
    """Whether the hub has the files now that it did not have. Fetching while it is on its way.

    False for an id that is not on the list, for who has not signed in, for a base that is somebody's, and where
    fetching has failed.
    """
    if actor is None or not BASE_NAME.fullmatch(name) or not is_wanted(name) or _is_somebodys(name):
        return False
    key = fold(name)
    with _lock:
        at, why = _failed.get(key, (0.0, ""))
        if why and time.monotonic() - at < FORGET_SECONDS:
            return False
        thread, seconds = _under_way.get(key), WAITS_FOR_ANOTHER
        if thread is None:
            if len(_under_way) >= MOST_WAITING:
                raise Fetching(name)
            thread, seconds = threading.Thread(target=_run, args=(actor, key, name), name="mirror", daemon=True), WAITS
            _under_way[key] = thread
            thread.start()
    thread.join(seconds)
    if key in _failed:
        return False
    if thread.is_alive() or not queries.served_bases(name):
        raise Fetching(name)
    return True


def _is_somebodys(name: str) -> bool:
    """Whether a user registered a base of this id, who then says which files it has; administrators leave it to us."""
    rows = BaseModel.objects.filter(name__iexact=name).select_related("created_by")
    return any(row.owner is not None and not row.owner.is_staff for row in rows)


def _run(actor: User, key: str, name: str) -> None:
    try:
        with AT_ONCE, lease(f"mirror-{hashlib.sha256(key.encode()).hexdigest()[:40]}") as held:
            if held is not None:
                _fetch(actor, name)
        _failed.pop(key, None)
    except (NotFetched, HubError, CompositionError) as refused:
        log.warning("mirror: %s: %s", name, refused)
        _failed[key] = (time.monotonic(), str(refused))
    except Exception as error:
        log.exception("mirror: %s", name)
        _failed[key] = (time.monotonic(), repr(error))
    finally:
        with _lock:
            _under_way.pop(key, None)
        connection.close()


def _fetch(actor: User, name: str) -> None:
    until = time.monotonic() + settings.MIRROR_SECONDS
    model = look_up(name, until=until)
    if fold(model.id) != fold(name):
        raise NotFetched(f"{name} is called {model.id} there: ask for it by that name")
    manifest = fetch(model, until=until)
    if base_files.CONFIG not in manifest:
        raise NotFetched(f"{name} has no config.json there")
    _keep(model, manifest)
    register_base(actor=actor, name=model.id, site_admin=False)  # It is there: a worker reads its shapes, if none has.


def _keep(model: Model, manifest: Manifest) -> None:
    """The base with these files, owned by administrators where it is new."""
    config = checked_config(read_config(read_whole(sources_of(manifest)[base_files.CONFIG])))
    base = BaseModel(name=model.id, config=config, license=model.licence[:100])
    base = BaseModel.objects.filter(name__iexact=model.id, revision="main").first() or base
    base_files.check_base_files(base, sources_of(manifest))
    with transaction.atomic():
        if base.pk is None:
            base.save(force_insert=True)
        base_files.set_files(base, manifest)
        record(None, "base.mirror", base, source=settings.MIRROR, commit=model.commit)
