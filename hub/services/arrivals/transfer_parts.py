"""LFS files on their way in to a bucket: parts are objects, wherever in the file they lie, and any host takes any.

A part that comes again takes the place of what began at the same byte, unless it was cut earlier. What is proven in the
end is the very list of objects that the blob is made of.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import BinaryIO

from django.db import IntegrityError, transaction

from hub.errors import Invalid
from hub.models import Arrival, ChunkStore, StagedPart, Transfer
from hub.services import quotas
from hub.services.arrivals import receiving, stores
from hub.services.arrivals.bounded import Gone, arrived, read_all
from hub.services.content import staging
from hub.services.content.manifest import Entry
from hub.services.content.staging.object_store import Span, bucket
from hub.services.content.staging.onward import Following
from hub.services.content.staging.parts import PartsFile, release
from hub.services.content.staging.writing import Made, PartWriter, object_name

KNOWN = 256


class Writer(PartWriter):
    """Writes a body into a file from `at` on. `wanted` is False where the file has come already."""

    def __init__(self, store: ChunkStore, entry: Entry, at: int) -> None:
        self.store, self.entry = store, entry
        self.transfer = _transfers(store, entry).first()
        self.wanted = self.transfer is not None
        if not self.wanted and not arrived(store, entry):
            raise Gone()
        self.names, sha256 = _known_before(self.transfer, at) if self.transfer else ((), None)
        super().__init__(bucket(), at, sha256, self._note)

    def take(self, chunks: Sequence[bytes]) -> None:
        """Take the next bytes; those of a file that has come already are only counted."""
        if self.wanted:
            super().take(chunks)
        else:
            self.at += sum(map(len, chunks))

    def _note(self, made: Made, safe: int) -> None:
        replaced, kept = None, False
        with transaction.atomic():
            # Its row is locked, so that it is not completed meanwhile.
            if there := Transfer.objects.select_for_update().filter(pk=self.transfer.pk).exists():
                before = self.transfer.parts.filter(offset=made.offset).first()
                if kept := before is None or before.size <= made.size:
                    replaced = before and before.name
                    self.transfer.parts.filter(offset=made.offset).delete()
                    row = {"offset": made.offset, "size": made.size, "name": made.name}
                    StagedPart.objects.create(transfer=self.transfer, **row)
        if not kept:
            release([made.name])
        elif replaced:
            release([replaced])
        if not there:
            if not arrived(self.store, self.entry):
                raise Gone()
            self.wanted = False
        if made.upto is not None and kept:
            self.names = (*self.names, made.name)
            _remember(self.transfer, made.offset + made.size, self.names, made.upto)
        else:
            self.sha256 = None


class Onward(Following):
    """Takes what follows in a body: the same without another look at the sender."""

    def __init__(self, writer: Writer, begin: int, most: int) -> None:
        super().__init__(writer)
        self.begin, self.most = begin, most

    def may_take(self, offset: int, size: int) -> bool:
        """True where bytes from `offset` of the body on are the next ones, and not too many."""
        return self.begin + offset == self.writer.at and offset + size <= self.most


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
    """See `transfers.receive`."""
    if starts:
        _begin(store, entry)
    if starts or onward is None or onward.writer.at != begin + at:
        onward = Onward(Writer(store, entry, begin + at), begin, most)
    done = False
    try:
        came = read_all(stream, begin + at, most - at, lambda _, data: onward.writer.take([data]))
        done = goes_on
    finally:
        if not done:
            onward.writer.finish()
    return came, onward if goes_on else None


def complete(*, store: ChunkStore, entry: Entry) -> Arrival:
    """Prove that the file is what was announced, and take it in. Invalid `arrival.size` or `arrival.digest` if not."""
    transfer = _transfers(store, entry).first()
    if transfer is None:
        if done := arrived(store, entry):
            return done
        raise Gone()
    parts = list(transfer.parts.order_by("offset"))
    file = PartsFile(_covering(parts), _known_whole(transfer, parts, entry.size))
    try:
        receiving.prove(entry, Entry(file.digest() if file.size == entry.size else "", file.size))
        # Its user's share has been charged with it since it began; the namespace's is asked once more.
        quotas.expect(store.repository.namespace, [entry])
        staging.keep({file: entry})
    except Invalid:
        _forget(transfer)
        raise
    except FileNotFoundError:  # Another request has completed it meanwhile, or sends a part of it again.
        if done := arrived(store, entry):
            return done
        raise Gone() from None
    with transaction.atomic():
        # Its bytes count once: as a transfer until here, as an arrival from here on.
        if Transfer.objects.filter(pk=transfer.pk).delete()[0]:
            stores.discharge(store, entry.size)
        arrival = receiving.note(actor=store.user, repository=store.repository, entry=entry)
    release([part.name for part in parts])
    return arrival


def _begin(store: ChunkStore, entry: Entry) -> None:
    """Make the row if there is none, with its bytes counted."""
    if _transfers(store, entry).exists():
        stores.touch(store)
        return
    stores.expect(store, entry.size)
    stores.charge(store, entry.size)
    try:
        with transaction.atomic():
            Transfer.objects.create(store=store, sha256=entry.sha256, size=entry.size)
    except BaseException as error:
        stores.discharge(store, entry.size)
        if not isinstance(error, IntegrityError):
            raise


def _forget(transfer: Transfer) -> None:
    names = list(transfer.parts.values_list("name", flat=True))
    if Transfer.objects.filter(pk=transfer.pk).delete()[0]:
        stores.discharge(transfer.store, transfer.size)
    release(names)


def _transfers(store: ChunkStore, entry: Entry):
    return Transfer.objects.filter(store=store, sha256=entry.sha256, size=entry.size)


def _covering(parts: Sequence[StagedPart]) -> tuple[Span, ...]:
    """Spans of the parts that make the file from its first byte on, up to where something is missing."""
    spans, at = [], 0
    for part in parts:
        end = part.offset + part.size
        if part.offset <= at < end:
            spans.append(Span(object_name(part.name), at - part.offset, end - at, part.offset == at))
            at = end
    return tuple(spans)


# Transfer → (end, names of the parts up to there, their SHA-256), as this process saw them.
_known: "OrderedDict[int, tuple[int, tuple, hashlib._Hash]]" = OrderedDict()
_lock = threading.Lock()


def _remember(transfer: Transfer, end: int, names: tuple, upto: "hashlib._Hash") -> None:
    with _lock:
        _known[transfer.pk] = (end, names, upto)
        _known.move_to_end(transfer.pk)
        if len(_known) > KNOWN:
            _known.popitem(last=False)


def _known_before(transfer: Transfer, at: int) -> "tuple[tuple, hashlib._Hash | None]":
    if at == 0:
        return (), hashlib.sha256()
    with _lock:
        end, names, upto = _known.get(transfer.pk, (None, (), None))
    return (names, upto.copy()) if end == at else ((), None)


def _known_whole(transfer: Transfer, parts: Sequence[StagedPart], size: int) -> str:
    """The SHA-256 where this process saw these very parts come in order; else "", and they are read."""
    with _lock:
        end, names, upto = _known.get(transfer.pk, (None, (), None))
    return upto.hexdigest() if end == size and names == tuple(part.name for part in parts) else ""
