"""Objects beside the blobs in the same S3 bucket, below `incoming/`: what has come and is no blob yet.

A name is written once and never again, so who has read an object's name may read and copy it at any time.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any, BinaryIO, NamedTuple

from django.core.files.storage import Storage, storages

from hub.storage import CHUNK
from hub.storage.timeouts import told_apart

INCOMING = "incoming"
LEAST_PART = 5 << 20  # of a multipart upload, but for its last part
MOST_COPIED = 5 << 30  # by one CopyObject
MOST_DELETED = 1000  # by one DeleteObjects
COPIED = 256 << 20  # bytes that one UploadPartCopy takes over
MISSING = {"404", "NoSuchKey", "NotFound", "NoSuchUpload"}
THREADS = 8


class Span(NamedTuple):
    """`size` bytes of an object from `begin` on. `whole` where it is known that the object has no others."""

    name: str
    begin: int
    size: int
    whole: bool = False


@dataclass(frozen=True, eq=False)
class Bucket:
    """The objects of one storage. Names are relative to its location, as the storage's own are."""

    storage: Storage

    @cached_property
    def client(self) -> Any:
        """boto3's S3 client, which all threads share: to make one takes long."""
        return self.storage.connection.meta.client

    def put(self, name: str, body: BinaryIO | bytes) -> None:
        """Store an object: durable, and seen by every host, when this returns."""
        self.client.put_object(**self._at(name), Body=body, **self._parameters(name))

    def stream(self, name: str, begin: int = 0, size: int | None = None) -> Iterator[bytes]:
        """These bytes of an object, or all, in chunks by one request. FileNotFoundError where it is not here."""
        if size == 0:
            return
        part = {} if size is None else {"Range": f"bytes={begin}-{begin + size - 1}"}
        with missing(name):
            answer = self.client.get_object(**self._at(name), **part)
        with contextlib.closing(answer["Body"]) as body, told_apart():
            yield from body.iter_chunks(CHUNK)

    def read(self, name: str, begin: int, size: int) -> bytes:
        """The same in one piece."""
        return b"".join(self.stream(name, begin, size))

    def read_span(self, span: Span) -> bytes:
        """The same of a span."""
        return self.read(span.name, span.begin, span.size)

    def exists(self, name: str) -> bool:
        """True if the object is here."""
        try:
            with missing(name):
                self.client.head_object(**self._at(name))
        except FileNotFoundError:
            return False
        return True

    def delete(self, names: Sequence[str]) -> None:
        """Remove objects, those that are here."""
        for begin in range(0, len(names), MOST_DELETED):
            keys = [{"Key": self._key(name)} for name in names[begin : begin + MOST_DELETED]]
            self.client.delete_objects(Bucket=self.storage.bucket_name, Delete={"Objects": keys, "Quiet": True})

    def walk(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """(name, when it was stored) of every object whose name begins so, in order."""
        cut = len(self._key(""))
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.storage.bucket_name, Prefix=self._key(prefix)):
            for found in page.get("Contents", ()):
                yield found["Key"][cut:], found["LastModified"]

    def compose(self, spans: Sequence[Span], name: str) -> None:
        """Make the object `name` of the spans, in order. The store copies; only what is too small for it is read here.

        A cut leaves nothing but parts of a multipart upload, which are swept with those of other blobs.
        """
        spans = [span for span in spans if span.size]
        size = sum(span.size for span in spans)
        if len(spans) == 1 and spans[0].whole and size <= MOST_COPIED:
            with missing(spans[0].name):
                self.client.copy_object(**self._at(name), CopySource=self._source(spans[0]), **self._parameters(name))
        elif size < LEAST_PART:
            self.put(name, b"".join(map(self.read_span, spans)))
        else:
            self._compose(list(_parts(spans)), name)

    def _compose(self, parts: list[list[Span]], name: str) -> None:
        parameters = self._parameters(name)
        upload = {"UploadId": self.client.create_multipart_upload(**self._at(name), **parameters)["UploadId"]}
        try:
            with ThreadPoolExecutor(THREADS) as threads:
                made = list(threads.map(lambda part: self._part(name, upload, *part), enumerate(parts, 1)))
            self.client.complete_multipart_upload(**self._at(name), **upload, MultipartUpload={"Parts": made})
        except BaseException:
            with contextlib.suppress(Exception):
                self.client.abort_multipart_upload(**self._at(name), **upload)
            raise

    def _part(self, name: str, upload: dict, number: int, spans: list[Span]) -> dict:
        where = {**self._at(name), **upload, "PartNumber": number}
        with missing(spans[0].name):
            if len(spans) == 1:
                (span,) = spans
                bytes_ = f"bytes={span.begin}-{span.begin + span.size - 1}"
                answer = self.client.upload_part_copy(**where, CopySource=self._source(span), CopySourceRange=bytes_)
                answer = answer["CopyPartResult"]
            else:
                answer = self.client.upload_part(**where, Body=b"".join(map(self.read_span, spans)))
        return {"ETag": answer["ETag"], "PartNumber": number}

    def _key(self, name: str) -> str:
        location = self.storage.location.strip("/")
        return f"{location}/{name}" if location else name

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.storage.bucket_name, "Key": self._key(name)}

    def _source(self, span: Span) -> dict[str, str]:
        return self._at(span.name)

    def _parameters(self, name: str) -> dict[str, Any]:
        given = self.storage.get_object_parameters(name)
        return {"ACL": self.storage.default_acl, **given} if self.storage.default_acl else given


class SpanReader(io.RawIOBase):
    """Reads spans as one file: in order in few requests that grow, elsewhere in small ones."""

    FIRST, MOST = 256 << 10, 8 << 20

    def __init__(self, bucket: Bucket, spans: Sequence[Span]) -> None:
        self.bucket, self.spans = bucket, spans
        self.length = sum(span.size for span in spans)
        self.at, self._begin, self._block, self._step = 0, 0, memoryview(b""), self.FIRST

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; nothing is read."""
        self.at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.length}[whence])
        return self.at

    def readinto(self, target: memoryview) -> int:
        """Copy the next bytes into `target`; 0 at the end."""
        if self.at >= self.length or not len(target):
            return 0
        behind = self._begin + len(self._block)
        if not self._begin <= self.at < behind:
            self._step = min(2 * self._step, self.MOST) if self.at == behind else self.FIRST
            self._begin, self._block = self.at, memoryview(self._fetch(max(self._step, min(len(target), self.MOST))))
        part = self._block[self.at - self._begin :][: len(target)]
        target[: len(part)] = part
        self.at += len(part)
        return len(part)

    def _fetch(self, size: int) -> bytes:
        found, at = [], self.at
        for name, begin, length, _ in self.spans:
            if at < length and size > 0:
                take = min(size, length - at)
                found.append(self.bucket.read(name, begin + at, take))
                at, size = at + take, size - take
            at = max(0, at - length)
        return b"".join(found)


@contextlib.contextmanager
def missing(name: str) -> Iterator[None]:
    """FileNotFoundError in place of the client's own error (botocore's ClientError, which is loaded for S3 only)."""
    try:
        yield
    except Exception as error:
        if getattr(error, "response", {}).get("Error", {}).get("Code") in MISSING:
            raise FileNotFoundError(f"{name} is not in the store") from error
        raise


def bucket() -> Bucket | None:
    """The bucket that the blobs are in; None where they are in a folder."""
    storage = storages["blobs"]
    if not hasattr(storage, "bucket_name"):
        return None
    return _of(storage)


@lru_cache(maxsize=1)
def _of(storage: Storage) -> Bucket:
    return Bucket(storage)


def _parts(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """The spans in groups that the store takes as parts: each, but the last, has at least `LEAST_PART` bytes.

    A group of one span is copied by the store; one of several is short, as it takes of a long span what it needs only.
    """
    group: list[Span] = []
    left = sum(span.size for span in spans)
    for span in spans:
        while span.size:
            need = LEAST_PART - sum(one.size for one in group) if group else 0
            if not group:
                take = span.size if span.size <= COPIED + LEAST_PART else COPIED
            elif span.size - need >= LEAST_PART or (span.size > need and span.size == left):
                take = need
            else:
                take = span.size
            group.append(span._replace(size=take))
            span = span._replace(begin=span.begin + take, size=span.size - take)
            left -= take
            if sum(one.size for one in group) >= LEAST_PART:
                yield group
                group = []
    if group:
        yield group
