"""Uploads whose bytes are objects of the blobs' bucket, and whose state is in the database: any host takes any piece.

A file has come as far as its row's `received` says, and its `StagedPart`s are just that. Both change in one
transaction that asks for the old `received`, so of two hosts with the same piece one is told where the file is by now.
Who sends many small pieces has them joined: a part takes in those before it that are no larger than itself, up to what
the store can copy by itself. So the parts of a file are few, and a byte is stored a few times at most.
"""

import contextlib
import hashlib
import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Coalesce

from hub.models import StagedPart, Upload, UploadFile
from hub.services.content.staging.holding import renew
from hub.services.content.staging.object_store import LEAST_PART, THREADS, Bucket, bucket
from hub.services.content.staging.onward import Following
from hub.services.content.staging.parts import PartsFile, release, spans
from hub.services.content.staging.refusals import wrong_offset
from hub.services.content.staging.writing import Made, PartWriter, object_name
from hub.services.upkeep.batches import batched
from hub.storage import CHUNK, blobs

KNOWN = 256

log = logging.getLogger(__name__)


class Incoming(PartWriter):
    """The bytes that a request brings of a file of an upload."""

    def __init__(self, file: UploadFile) -> None:
        rows = UploadFile.objects.filter(pk=file.pk).annotate(here=_here()).values_list("received", "here")
        said, here = rows.first() or (0, 0)
        if said != here:
            # Begun when the site had a folder for its store; what was in it is on no other host.
            UploadFile.objects.filter(pk=file.pk, received=said).update(received=here)
        self.file = file
        self.parts = list(file.parts.order_by("offset"))
        super().__init__(bucket(), here, _known_of(file, self.parts), self._note)

    @property
    def received(self) -> int:
        """Bytes that have come, those included that nobody is told of yet."""
        return self.at

    def append(self, stream: BinaryIO, *, goes_on: bool = False) -> bool:
        """Take what the file may still have; True if the stream had more. Safe at the end, unless it `goes_on`."""
        done = False
        try:
            while self.at < self.file.size:
                data = stream.read(min(CHUNK, self.file.size - self.at))
                if not data:
                    done = goes_on
                    return False
                self.take([data])
            return bool(stream.read(1))
        finally:
            if not done:
                self.finish()

    def onward(self) -> "Onward":
        """Who takes what follows in the body."""
        return Onward(self)

    def head(self, size: int) -> bytes:
        """The first bytes of the file."""
        self._settle()
        stored = PartsFile(spans(self.file.parts.order_by("offset")))
        with stored.open() as stream:
            head = stream.read(size)
        return (head + self.held()[: size - len(head)]) if len(head) < size else head

    def settle(self) -> bool:
        """Have the row say what is here; False where the upload is gone."""
        self.file.received = self.at
        return UploadFile.objects.filter(pk=self.file.pk).exists()

    def discard(self) -> None:
        """Forget all that has come of the file."""
        self.drop()
        discard(self.file)

    def before(self, size: int) -> tuple[Sequence[StagedPart], bytes]:
        """The small parts at the file's end that become one with `size` bytes."""
        joined: list[StagedPart] = []
        for part in reversed(self.parts):
            if part.size >= LEAST_PART or part.size > size:
                break
            joined.insert(0, part)
            size += part.size
        try:
            return joined, b"".join(map(self.bucket.read_span, spans(joined)))
        except FileNotFoundError:  # Another host has been here: noting the part will say so.
            return (), b""

    def _note(self, made: Made, safe: int) -> None:
        end, new = made.offset + made.size, None
        with transaction.atomic():
            moved = UploadFile.objects.filter(pk=self.file.pk, received=safe).update(received=end)
            if moved and self._goes_on():
                StagedPart.objects.filter(pk__in=[part.pk for part in made.joined]).delete()
                row = {"offset": made.offset, "size": made.size, "name": made.name, "sha256": made.sha256}
                new = StagedPart.objects.create(file=self.file, **row)
            elif moved:
                transaction.set_rollback(True)
        if new is None:
            release([made.name])
            row = UploadFile.objects.filter(pk=self.file.pk).first()
            if row is not None:
                raise wrong_offset(row.path, row.received, safe)
            return
        self.parts = [*(part for part in self.parts if part not in made.joined), new]
        _remember(self.file, made)
        release([part.name for part in made.joined])

    def _goes_on(self) -> bool:
        """Whether the last part is still the one that this one follows: else the file was begun anew meanwhile."""
        return not self.parts or self.file.parts.filter(name=self.parts[-1].name).exists()


class Onward(Following):
    """Takes what follows in the body of a request that was allowed to append: the same without another look."""

    writer: Incoming

    def may_take(self, offset: int, size: int) -> bool:
        """True where bytes from `offset` of the file on are the next ones, and not more than promised."""
        return offset == self.writer.at and offset + size <= self.writer.file.size


@contextlib.contextmanager
def receiving(file: UploadFile, onward: Onward | None = None) -> Iterator[Incoming]:
    """Who takes what a request brings; `onward` took what came before in the same body."""
    if onward is not None and onward.writer.file.pk == file.pk:
        onward.writer.file = file
        yield onward.writer
    else:
        yield Incoming(file)


def refresh(rows: Collection[UploadFile]) -> None:
    """Have `received` say what is here: it does, but for uploads from before the site had its store in S3."""
    found = UploadFile.objects.filter(pk__in=[row.pk for row in rows if row.received or row.blob_id])
    here = dict(found.annotate(here=_here()).values_list("pk", "here"))
    for row in rows:
        now = row.size if row.blob_id else here.get(row.pk, row.received)
        if row.received != now:
            UploadFile.objects.filter(pk=row.pk, received=row.received).update(received=now)
            row.received = now


def look_again(upload: Upload) -> None:
    """Forget files of which an object is gone, as after somebody has cleaned the bucket."""
    for part in StagedPart.objects.filter(file__upload=upload.pk).select_related("file"):
        if not bucket().exists(object_name(part.name)):
            discard(part.file)


def received(file: UploadFile) -> int:
    """Bytes that have come, as the row says."""
    return file.size if file.blob_id else file.received


def sources(rows: Collection[UploadFile]) -> dict[str, PartsFile]:
    """Path → what has come of the file."""
    parts: dict[int, list[StagedPart]] = {row.pk: [] for row in rows}
    for some in batched(parts):
        for part in StagedPart.objects.filter(file__in=some).order_by("offset"):
            parts[part.file_id].append(part)
    return {row.path: PartsFile(spans(parts[row.pk]), (parts[row.pk] or [_NOTHING])[-1].sha256) for row in rows}


def keep(found: Mapping[PartsFile, tuple[str, int]]) -> None:
    """Make blobs of files that are proven to be these (SHA-256, size): the store copies, several at a time."""
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(lambda one: _keep(bucket(), *one), found.items()):
            renew()


def _keep(here: Bucket, file: PartsFile, proven: tuple[str, int]) -> None:
    if not blobs.refresh(proven[0]):
        here.compose(file.spans, blobs.name(proven[0]))


def share(old: UploadFile, new: UploadFile) -> int:
    """Give a new upload what an earlier one with the same promise has; how many bytes. Both name the same objects."""
    with transaction.atomic():
        # Its row is locked, so that its parts are not let go meanwhile.
        if not UploadFile.objects.filter(pk=old.pk).update(received=F("received")):
            return 0
        parts = list(old.parts.order_by("offset"))
        here = sum(part.size for part in parts)
        if not here or not UploadFile.objects.filter(pk=new.pk, received=0).update(received=here):
            return 0
        columns = ("offset", "size", "name", "sha256")
        copies = [StagedPart(file=new, **{name: getattr(part, name) for name in columns}) for part in parts]
        StagedPart.objects.bulk_create(copies)
    return here


def discard(file: UploadFile) -> None:
    """Forget the bytes of one file."""
    _remove(UploadFile.objects.filter(pk=file.pk))


def remove_bytes(upload: Upload) -> None:
    """Forget the bytes of all files."""
    _remove(UploadFile.objects.filter(upload=upload.pk))


def _remove(files) -> None:
    with transaction.atomic():
        files.filter(received__gt=0).update(received=0)
        parts = StagedPart.objects.filter(file__in=files.values("pk"))
        names = list(parts.values_list("name", flat=True))
        parts.delete()
    release(names)


def _here() -> Coalesce:
    return Coalesce(Sum("parts__size"), 0)


_NOTHING = StagedPart(sha256=hashlib.sha256().hexdigest())
_known: "OrderedDict[int, tuple[uuid.UUID, hashlib._Hash]]" = OrderedDict()
_known_lock = threading.Lock()


def _remember(file: UploadFile, made: Made) -> None:
    """What this process knows of a file up to a part's end; the part's name says that it is still the same file."""
    if made.upto is not None:
        with _known_lock:
            _known[file.pk] = (made.name, made.upto)
            _known.move_to_end(file.pk)
            if len(_known) > KNOWN:
                _known.popitem(last=False)


def _known_of(file: UploadFile, parts: Sequence[StagedPart]) -> "hashlib._Hash | None":
    if not parts:
        return hashlib.sha256()
    with _known_lock:
        name, upto = _known.get(file.pk, (None, None))
    return upto.copy() if upto is not None and name == parts[-1].name else None
