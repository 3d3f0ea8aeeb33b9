"""Bytes on their way in: where they lie until their commit, and how far each promised file has come.

    folders        a folder of this machine, where the blobs lie in one: blobs are made by a second link
    objects        the blobs' bucket, with the state in the database: any host takes any piece, a lost one loses none
    writing        bodies become objects, in parts
    parts          files as the parts that have come
    leftovers      what nobody knows any more
    object_store   S3: objects, ranges, and copies made by the store
    holding        an upload held in the database against a second commit

Which of the two it is, is asked here and nowhere else. A file in a folder of this machine may be part of an upload in
both cases: what another tool's files were turned into, for one.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from composition.formats.sources import LocalFile
from hub import disk
from hub.models import Upload, UploadFile
from hub.services.content.staging import folders, holding, leftovers, objects
from hub.services.content.staging.folders import LOCK_SECONDS, folder, locked, path_of
from hub.services.content.staging.object_store import bucket
from hub.services.content.staging.objects import PartsFile
from hub.services.content.staging.refusals import wrong_offset
from hub.services.upkeep import sweeps

__all__ = ["folder", "locked", "path_of", "wrong_offset"]

Staged = LocalFile | PartsFile
Incoming = folders.Incoming | objects.Incoming
Onward = folders.Onward | objects.Onward


def _backend() -> ModuleType:
    return folders if bucket() is None else objects


def require_room(size: int) -> None:
    """DiskFull where there is no room for bytes that are about to come. A bucket's room is the store's own business."""
    disk.require_room(size if bucket() is None else 0)


def received(file: UploadFile) -> int:
    """Bytes that have come; all of them where the repository holds the blob already."""
    return _backend().received(file)


def refresh(rows: Collection[UploadFile]) -> None:
    """Have the rows' `received` say what is here, in the database as well."""
    _backend().refresh(rows)


def look_again(upload: Upload) -> None:
    """Have the rows' `received` say what is really here, where something was found to be gone."""
    if bucket() is not None:
        objects.look_again(upload)


def receiving(file: UploadFile, onward: Onward | None = None) -> contextlib.AbstractContextManager:
    """Who takes what a request brings of a file: an `Incoming` of either kind. Conflict where the file is busy.

    `onward` is what that gave for the bytes before these in the same body.
    """
    return _backend().receiving(file, onward)


def sources(rows: Collection[UploadFile]) -> dict[str, Staged]:
    """Path → what has come of the file, to be read, proven and kept: what is proven is what is kept.

    FileNotFoundError where a file is gone.
    """
    return _backend().sources(rows)


def digest(file: UploadFile, source: Staged | None = None) -> str:
    """The SHA-256 of what has come: what was not hashed on its way is read. FileNotFoundError where nothing is here."""
    source = source or sources([file])[file.path]
    return source.digest() if isinstance(source, PartsFile) else folders.digest(file)


def keep(found: Mapping[Staged, tuple[str, int] | None]) -> None:
    """Put whole files into the blob store; (SHA-256, size) where that is proven. FileNotFoundError where one is gone.

    A file of this machine is linked, and must never be written again.
    """
    far = {source: known for source, known in found.items() if isinstance(source, PartsFile)}
    if far:
        objects.keep(far)
    for source in found:
        if source not in far:
            folders.keep(source, found[source])


def share(old: UploadFile, new: UploadFile) -> int:
    """Give a new upload what an earlier one with the same promise has, which keeps it; how many bytes."""
    return _backend().share(old, new)


def discard(file: UploadFile) -> None:
    """Forget the bytes of one file."""
    _backend().discard(file)


def remove_bytes(upload: Upload) -> None:
    """Free the room of all files; what holds the upload stays."""
    _backend().remove_bytes(upload)


def remove(upload: Upload) -> None:
    """Forget the bytes of all files, and what was made of them on this machine."""
    if bucket() is not None:
        objects.remove_bytes(upload)
    folders.remove(upload)


def whole(upload: UUID, *, patience: float = LOCK_SECONDS) -> contextlib.AbstractContextManager:
    """Hold all of an upload's files where they are: against a second commit, against being taken over or removed."""
    return folders.whole(upload, patience=patience) if bucket() is None else holding.whole(upload, patience=patience)


def whole_even_on_a_full_disk(upload: UUID) -> contextlib.AbstractContextManager:
    """The same for who only removes: where not even a lock can be written, no commit holds one either."""
    return folders.whole_even_on_a_full_disk(upload) if bucket() is None else whole(upload)


def strays(before: datetime) -> Iterator[tuple[str, Callable[[], None]]]:
    """(name, how to remove it) of what belongs to no known upload and nobody touched since: here and in the bucket."""
    yield from leftovers.of_machine(before)
    if bucket() is not None:
        yield from leftovers.of_bucket(before)


def remove_strays(before: datetime, *, dry_run: bool = False) -> int:
    """Remove the `strays`; how many there are, or with `dry_run` would be."""
    count = 0
    for _, remove_it in strays(before):
        count += 1
        if not dry_run:
            remove_it()
    return count


def sweep() -> None:
    """Remove this machine's strays, once a day. The upkeep that forgets uploads may run on other machines only."""
    if settings.KEEP_UPLOADS_DAYS and sweeps.is_time(Path(settings.UPLOAD_FOLDER)):
        for _, remove_it in leftovers.of_machine(timezone.now() - timedelta(days=settings.KEEP_UPLOADS_DAYS)):
            remove_it()
