"""Taking in bytes that a client announced with their SHA-256 and size: nothing is stored that is not just that."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.db import transaction

from hub import disk
from hub.errors import Invalid
from hub.models import Arrival, Repository, User, clock
from hub.services import quotas
from hub.services.arrivals import stores
from hub.services.content.blob_claims import claim_blobs
from hub.services.content.manifest import Entry
from hub.storage import DIGEST, blobs, digest


def expect(*, actor: User, repository: Repository, entry: Entry) -> None:
    """Refuse now what could not be taken in: Invalid, QuotaExceeded `quota.staged_bytes`, DiskFull."""
    expect_all(actor=actor, repository=repository, entries=[entry])


def expect_all(*, actor: User, repository: Repository, entries: Collection[Entry]) -> None:
    """Refuse now what could not be taken in together, in a few questions to the database; raises what `expect` does."""
    for entry in entries:
        _check(entry)
    sizes = {entry.sha256: entry.size for entry in entries}
    stores.require_room(sum(sizes.values()))
    mine = Arrival.objects.filter(repository=repository, user=actor, blob__in=sizes)
    known = set(mine.values_list("blob", flat=True))
    if needed := sum(size for sha256, size in sizes.items() if sha256 not in known):
        quotas.require("staged_bytes", actor, needed=needed, hold=False)
    quotas.expect(repository.namespace, entries)


def receive(*, actor: User, repository: Repository, stream: BinaryIO, entry: Entry) -> Arrival:
    """Store what `stream` holds, which must be `entry`. The same again is taken in again and changes nothing.

    Invalid `arrival.size` or `arrival.digest` where it is something else, and what `expect` raises.
    """
    expect(actor=actor, repository=repository, entry=entry)
    blobs.put(_Bounded(stream, entry), accept=lambda sha256, size: prove(entry, Entry(sha256, size)))
    return note(actor=actor, repository=repository, entry=entry)


def adopt(
    *, actor: User, repository: Repository, path: str | os.PathLike, entry: Entry, proven: bool = False
) -> Arrival:
    """Take over a finished local file, which must be `entry` and is never written to again; the caller removes it.

    `proven` says that the caller has computed the digest from these very bytes. Raises what `receive` raises.
    """
    expect(actor=actor, repository=repository, entry=entry)
    if not proven:
        with Path(path).open("rb") as stream:
            prove(entry, Entry(*digest(stream)))
    blobs.add(path, link=True, known=entry)
    return note(actor=actor, repository=repository, entry=entry)


def note(*, actor: User, repository: Repository, entry: Entry) -> Arrival:
    """The row for bytes that are in the store and proven to be this user's to name. Raises QuotaExceeded."""
    with transaction.atomic():
        known = Arrival.objects.filter(repository=repository, user=actor, blob=entry.sha256).exists()
        quotas.require("staged_bytes", actor, needed=0 if known else entry.size)
        claim_blobs({entry})
        key = {"repository": repository, "user": actor, "blob_id": entry.sha256}
        arrival, _ = Arrival.objects.update_or_create(**key, defaults={"touched_at": clock.read()})
    return arrival


def _check(entry: Entry) -> None:
    if not isinstance(entry.sha256, str) or not DIGEST.fullmatch(entry.sha256):
        raise Invalid("The id of an LFS file is its SHA-256: 64 lower-case hex digits.", field="oid")
    if not isinstance(entry.size, int) or isinstance(entry.size, bool) or entry.size < 0:
        raise Invalid(f"The size is a number of bytes, not {str(entry.size)[:40]!r}.", field="size")
    if entry.size > settings.MAX_FILE_BYTES:
        raise Invalid(
            f"The file has {entry.size:,} bytes; this hub takes files of at most {settings.MAX_FILE_BYTES:,}.",
            code="upload.too_large",
            limit=settings.MAX_FILE_BYTES,
        )


def prove(entry: Entry, came: Entry) -> None:
    """Invalid `arrival.size` or `arrival.digest` where something else came than was announced."""
    if came.size != entry.size:
        raise _wrong_size(entry, f"{came.size:,}")
    if came != entry:
        raise Invalid(
            f"What arrived has the SHA-256 {came.sha256}, and {entry.sha256} was announced. It was damaged on its way, "
            "or has changed since; send it again.",
            code="arrival.digest",
            declared=entry.sha256,
            computed=came.sha256,
        )


def _wrong_size(entry: Entry, came: str) -> Invalid:
    return Invalid(
        f"{entry.size:,} bytes were announced, and {came} came. Send the file again.",
        code="arrival.size",
        declared=entry.size,
    )


class _Bounded:
    """A stream that refuses to be longer than announced, and stops where the disk becomes nearly full."""

    def __init__(self, stream: BinaryIO, entry: Entry) -> None:
        self.stream, self.entry, self.came = stream, entry, 0

    def read(self, size: int) -> bytes:
        """The next bytes."""
        disk.require_room()
        data = self.stream.read(min(size, self.entry.size - self.came + 1))
        self.came += len(data)
        if self.came > self.entry.size:
            raise _wrong_size(self.entry, "more")
        return data
