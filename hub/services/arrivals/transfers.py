"""LFS files on their way in, whole or in parts, which may come in any order and more than once.

`transfer_files` keeps them in a folder of this machine, `transfer_parts` in the bucket that the blobs are in: then
each part may come to another host. Until the file is whole, it counts for its user with all the bytes announced.
"""

from types import ModuleType
from typing import BinaryIO

from hub.models import Arrival, ChunkStore
from hub.services.arrivals import stores, transfer_files, transfer_parts
from hub.services.content.manifest import Entry

Onward = transfer_files.Onward | transfer_parts.Onward


def _backend() -> ModuleType:
    return transfer_parts if stores.in_bucket() else transfer_files


def receive(
    *,
    store: ChunkStore,
    entry: Entry,
    begin: int,
    at: int,
    most: int,
    stream: BinaryIO,
    starts: bool,
    goes_on: bool = False,
    onward: Onward | None = None,
) -> tuple[int, Onward | None]:
    """Write what `stream` holds of a body; how many bytes that were, and who takes what follows where it `goes_on`.

    The body's `most` bytes lie in the file from `begin` on, and these begin at `at` of the body. `starts` says that
    they are its first; else `onward` is what the call before gave.
    Errors: Invalid `arrival.size`, Conflict `arrival.transfer_gone`, QuotaExceeded, DiskFull.
    """
    given = {"store": store, "entry": entry, "begin": begin, "at": at, "most": most, "stream": stream}
    return _backend().receive(**given, starts=starts, goes_on=goes_on, onward=onward)


def complete(*, store: ChunkStore, entry: Entry) -> Arrival:
    """Prove that the file is what was announced, and take it in. Invalid `arrival.size` or `arrival.digest` if not."""
    return _backend().complete(store=store, entry=entry)
