"""Uploads by Xet: xorbs are kept once they are proven, and a shard makes whole files of them, proven by SHA-256.

Once a file is made, those of its xorbs that it holds in one piece are kept by reference: their bytes are in the blob.
A client fills xorbs. One that is not full may be a whole file: it is hashed on its way, and becomes the blob as it is.
Full ones are written one behind the other (`xorb_runs`), hashed too, and become the blob of a file that begins so.
"""

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from hub import disk
from hub.errors import HubError
from hub.models import Arrival, ChunkStore
from hub.services.arrivals import digests, receiving, stores
from hub.services.arrivals.xorb_files import XorbFiles
from hub.services.arrivals.xorb_objects import XorbObjects
from hub.services.content.manifest import Entry
from hub.services.content.staging.onward import as_a_request
from hub.storage import CHUNK, blobs
from hub.xet.errors import XetError
from hub.xet.files import rebuild
from hub.xet.hashing import from_hex
from hub.xet.shards import MAX_BYTES as MOST_OF_A_SHARD
from hub.xet.shards import ShardFile, read_shard
from hub.xet.xorbs import MAX_BODY, XorbReceiver

# A xorb's footer repeats its index; a body of more than this has something else behind it.
MOST_OF_A_XORB = MAX_BODY + (1 << 20)
# The stock client ends a xorb before 64 MiB where nothing follows in it, or when a long chunk would not fit.
FULL = 63 << 20


def put_xorb(
    *, store: ChunkStore, name: str, stream: BinaryIO, length: int, arriving: "ArrivingXorb | None" = None, more=False
) -> "ArrivingXorb":
    """Keep the xorb that `stream` holds if it is what `name`, its written hash, says.

    `length` is what the sender announced. A body may come in several calls: each but the first gives what the one
    before returned as `arriving`, and all but the last say that `more` follows.
    Errors: XetError, QuotaExceeded `quota.staged_bytes`, DiskFull; then nothing of it is left.
    """
    arriving = arriving or ArrivingXorb(store, name, length)
    try:
        arriving.read(stream)
        if not more:
            arriving.keep()
    except BaseException:
        arriving.close()
        raise
    return arriving


class ArrivingXorb:
    """A xorb on its way in: unpacked and checked as it comes, under a temporary name. Its announced bytes are charged.

    `is_new` is False where the store has it already: then its bytes are looked at no more.
    """

    def __init__(self, store: ChunkStore, name: str, length: int) -> None:
        digest = from_hex(name)
        if length > MOST_OF_A_XORB:
            raise XetError("xorb_too_large", f"The xorb has {length:,} bytes; send at most {MAX_BODY:,}.", xorb=name)
        stores.expect(store, length)
        self.store, self.xorbs, self.charged, self.came = store, _xorbs(store), 0, 0
        self.is_new = not self.xorbs.open(digest)
        self._lock, self._failure, self._files = threading.Lock(), None, contextlib.ExitStack()
        if self.is_new:
            stores.charge(store, length)
            self.charged = length
            try:
                self._open(digest, is_full=length >= FULL)
            except BaseException:
                self.close()
                raise
            self.receiver = XorbReceiver(digest, self._write)

    def _open(self, digest: bytes, *, is_full: bool) -> None:
        """Where its bytes go: behind those of the run, or into a file of its own."""
        self.turn, self.sha256, self.at = None, None, 0
        self._unwritten, self._waiting = [], 0
        if is_full:
            self.turn = self._files.enter_context(self.xorbs.turn(digest))
        if self.turn and (run := self.turn.run):
            self.out = self._files.enter_context(run.writing())
            self.sha256, self.at = run.sha256.copy(), run.size
            return
        self.part = self._files.enter_context(self.xorbs.part())
        self.out = self._files.enter_context(self.part.open("wb", buffering=0))
        if not is_full:
            self.sha256 = hashlib.sha256()

    def read(self, stream: BinaryIO) -> None:
        """Take what the stream holds."""
        while data := stream.read(CHUNK):
            with self._lock:
                self._feed([data])

    def take(self, offset: int, chunks: Sequence[bytes]) -> bool:
        """Take bytes that begin at `offset` of the body; False where `read` has to say what is wrong with them."""
        with self._lock:
            if self._failure is None and offset == self.came:
                try:
                    self._feed(chunks)
                except (HubError, XetError, OSError) as error:
                    self._failure = error
                    return False
                return True
        return False

    def _feed(self, chunks: Sequence[bytes]) -> None:
        if self._failure is not None:
            raise self._failure
        disk.require_room()
        for chunk in chunks:
            if self.is_new:
                self.receiver.feed(chunk)
            self.came += len(chunk)
        if self.is_new:
            self._flush()

    def _write(self, raw: bytes | memoryview) -> None:
        self._unwritten.append(raw)
        self._waiting += len(raw)
        if self._waiting >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        """Write the raw bytes that wait, and look at them: together, and before the piece goes that holds them."""
        unwritten, self._unwritten, self._waiting = self._unwritten, [], 0
        self.at = digests.write_all(self.out.fileno(), self.at, unwritten)
        if self.sha256 is not None:
            for raw in unwritten:
                self.sha256.update(raw)

    def keep(self) -> None:
        """Its body has come whole: keep it if it is what it was sent as."""
        if self.is_new:
            index = self.receiver.finish()
            self._flush()
            self.out.close()
            more = index.ends[-1] - self.charged
            if more > 0:
                stores.charge(self.store, more)
            self.charged = 0
            if self.turn and (run := self.turn.run):
                self.xorbs.keep_in(run.path, run.size, index)
                run.add(index.hash, index.ends[-1], self.sha256)
            else:
                self.xorbs.keep(self.part, index, self.sha256.hexdigest() if self.sha256 else "")
            if self.turn:
                self.turn.is_kept = True
            if more < 0:
                stores.discharge(self.store, -more)
        self.close()

    def close(self) -> None:
        """Nothing more comes: what was not kept goes."""
        with self._lock:
            self._failure = self._failure or XetError("xorb_cut", "The xorb was not sent to its end. Send it again.")
            self._files.close()
            charged, self.charged = self.charged, 0
        if charged:
            with as_a_request():
                stores.discharge(self.store, charged)


def put_shard(*, store: ChunkStore, stream: BinaryIO) -> list[Arrival]:
    """Make the files of a shard from the store's xorbs; each is an arrival then.

    Errors: XetError, and what `arrivals.expect` raises. The store is closed by a XetError: whatever was wrong, the
    client's next try begins at another address and sends all that is needed.
    """
    body = stream.read(MOST_OF_A_SHARD + 1)
    try:
        shard = read_shard(body)
        files = {Entry(file.sha256, file.size): file for file in shard.files}
        stores.expect(store, sum(entry.size for entry in files))
        return [_make(store, entry, file) for entry, file in files.items()]
    except XetError:
        stores.close(store)
        raise


def _make(store: ChunkStore, entry: Entry, file: ShardFile) -> Arrival:
    actor, repository = store.user, store.repository
    receiving.expect(actor=actor, repository=repository, entry=entry)
    if Arrival.objects.filter(user=actor, repository=repository, blob=entry.sha256, blob__size=entry.size).exists():
        # Made before: a small shard sent again and again must not cost its large file each time.
        return receiving.note(actor=actor, repository=repository, entry=entry)
    xorbs = _xorbs(store)
    try:
        blocks = _watched(rebuild(file, xorbs.open, max_bytes=entry.size))
        xorbs.make(file, blocks, lambda begins: _watched(_from(file, begins, xorbs)))
    except OSError as error:
        if disk.refusal_of(error):
            raise
        raise XetError(
            "xorb_unknown", "The bytes of a xorb are not here any more. Upload the file again.", sha256=entry.sha256
        ) from error
    arrival = receiving.note(actor=actor, repository=repository, entry=entry)
    if blobs.folder is not None:
        stores.discharge(store, sum(xorbs.keep_within(entry.sha256, *place) for place in file.places()))
    return arrival


def _xorbs(store: ChunkStore) -> XorbFiles | XorbObjects:
    return XorbObjects(stores.objects(store)) if stores.in_bucket() else XorbFiles(stores.folder(store))


def _from(file: ShardFile, begins: int, xorbs: XorbFiles | XorbObjects) -> Iterator[bytes | memoryview]:
    """The bytes of the file from a term's begin on. They are not proven."""
    at = 0
    for term in file.terms():
        if at >= begins:
            if (xorb := xorbs.open(term.xorb)) is None:
                raise FileNotFoundError("a xorb of the file has gone")
            with contextlib.closing(xorb):
                yield from xorb.read(term.start, term.end)
        at += term.length


def _watched(blocks: Iterator[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    for number, block in enumerate(blocks):
        if number % 16 == 0:
            disk.require_room()
        yield block
