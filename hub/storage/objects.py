"""Blobs in S3. What is sent is sent once, and stands under its digest only when its bytes are proven to be that.

The digest is computed before an object is sent, so that what is there already isn't sent at all, and once more on the
way: the end of a stream that turns out to be something else is an error inside the transfer, which then is aborted
before there is an object. What comes as a stream and is small waits in memory for its digest, else in a file without a
name below the upload folder. boto3 gives each request a checksum, which the store compares.

An object's age can't be set. So bytes that are found again get a mark of no bytes, `seen/<sha256>`, whose age counts
in place of theirs: writing one costs the same for a blob of any size. Marks older than the collector's grace say
nothing any more and are swept.
"""

import contextlib
import hashlib
import io
import tempfile
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from django.conf import settings
from django.utils import timezone
from django.utils.http import content_disposition_header

from hub.storage.hashing import CHUNK, DIGEST, digest

if TYPE_CHECKING:
    from hub.storage.client import ObjectStorage

IN_MEMORY = 8 << 20
LINES = 64 << 10  # what is read ahead for who reads line by line
ASKERS = 16  # requests at once about as many objects
SEEN = "seen"
# Bytes stored or found this long ago are young enough for who finds them now.
YOUNG = timedelta(hours=1)
KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
REASONS = {
    "NoSuchBucket": "there is no such bucket. Make it, or correct the name.",
    "NoCredentialsError": f"no key is set. Set {KEYS}.",
    "PartialCredentialsError": f"half of the key is set. Set {KEYS}.",
    "InvalidAccessKeyId": f"the store does not know the key. Correct {KEYS}.",
    "SignatureDoesNotMatch": f"the secret does not belong to the key. Correct {KEYS}.",
    "ExpiredToken": "the key has expired. Set a new one.",
    "AccessDenied": "the key may not list, read, write and delete there. Give it these rights.",
    "403": "the key may not list, read, write and delete there. Give it these rights.",
    "PermanentRedirect": "it is in another region. Set AWS_DEFAULT_REGION, or STORAGE_ENDPOINT.",
    "AuthorizationHeaderMalformed": "it is in another region. Set AWS_DEFAULT_REGION.",
    "RequestTimeTooSkewed": "the clocks of this host and of the store differ. Set the clock (NTP).",
    "NoRegionError": "no region is set. Set AWS_DEFAULT_REGION.",
}


class WrongBytes(Exception):
    """What was to be stored is something else than its digest says: a file that changed, or a fault of ours."""


class Objects:
    """The blobs of a bucket, below the storage's location. Digests are checked by whoever calls."""

    def __init__(self, storage: "ObjectStorage") -> None:
        self.storage = storage

    @property
    def client(self):
        return self.storage.connection.meta.client

    def key(self, sha256: str) -> str:
        """The whole name of a blob in the bucket."""
        return self.within(f"{sha256[:2]}/{sha256[2:4]}/{sha256}")

    def within(self, name: str) -> str:
        """The whole name of what is called `name` below the storage's location."""
        return f"{self.storage.location}/{name}" if self.storage.location else name

    def exists(self, sha256: str) -> bool:
        return self._head(self.key(sha256)) is not None

    def size(self, sha256: str) -> int:
        return self._found(sha256)["ContentLength"]

    def sizes(self, digests: Collection[str]) -> dict[str, int]:
        if len(digests) <= 1:
            heads = [self._head(self.key(sha256)) for sha256 in digests]
        else:
            with ThreadPoolExecutor(min(ASKERS, len(digests))) as threads:
                heads = list(threads.map(lambda sha256: self._head(self.key(sha256)), digests))
        return {sha256: head["ContentLength"] for sha256, head in zip(digests, heads, strict=True) if head}

    def open(self, sha256: str) -> BinaryIO:
        from hub.storage.ranged import RangedStream

        place = {"Bucket": self.storage.bucket_name, "Key": self.key(sha256)}
        client = self.client
        raw = RangedStream(sha256, lambda start, stop: client.get_object(**place, Range=f"bytes={start}-{stop - 1}"))
        return io.BufferedReader(raw, LINES)  # else a line would be read byte by byte

    def address(self, sha256: str, filename: str, seconds: int) -> str:
        """A signed address; it allows GET of this one object, with any Range."""
        params = {
            "Bucket": self.storage.bucket_name,
            "Key": self.key(sha256),
            "ResponseContentDisposition": content_disposition_header(True, filename),
            "ResponseContentType": "application/octet-stream",
            "ResponseCacheControl": "private, no-store",
        }
        return self.storage.signing_client.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)

    def delete(self, sha256: str) -> None:
        for key in (self.key(sha256), self._mark(sha256)):
            self.client.delete_object(Bucket=self.storage.bucket_name, Key=key)

    def modified(self, sha256: str) -> datetime:
        stored, seen = self._found(sha256), self._head(self._mark(sha256))
        return max(found["LastModified"] for found in (stored, seen) if found)

    def add(self, path: Path, *, link: bool, known: tuple[str, int] | None) -> tuple[str, int]:
        with open(path, "rb") as source:
            sha256, size = known or digest(source)
            if not self.refresh(sha256):
                source.seek(0)
                self._send(source, sha256)
        return sha256, size

    def put(self, stream: BinaryIO, accept: Callable[[str, int], None]) -> tuple[str, int]:
        Path(settings.UPLOAD_FOLDER).mkdir(parents=True, exist_ok=True)
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=settings.UPLOAD_FOLDER) as kept:
            sha256, size = digest(stream, kept)
            accept(sha256, size)
            if not self.refresh(sha256):
                kept.seek(0)
                self._send(kept, sha256)
        return sha256, size

    def put_proven(self, blocks: Iterable[bytes | memoryview], sha256: str) -> None:
        source = _Blocks(blocks)
        if self.refresh(sha256):
            while source.read(CHUNK):
                pass  # Their maker proves on the way that they may be named.
        else:
            self._send(source, sha256)

    def ask(self) -> None:
        """The store's error where the bucket isn't there, or can't be read."""
        self.client.head_bucket(Bucket=self.storage.bucket_name)

    def require(self) -> None:
        """The same: a bucket isn't made by the hub."""
        self.ask()

    def probe(self) -> None:
        """Use the bucket as blobs do: list, write, read and delete."""
        # A name of its own: hosts that start at once must not remove each other's. What a cut leaves is swept there.
        place = {"Bucket": self.storage.bucket_name, "Key": self.within(f"incoming/probe/{uuid.uuid4().hex}")}
        self.client.list_objects_v2(Bucket=self.storage.bucket_name, Prefix=place["Key"], MaxKeys=1)
        self.client.put_object(**place, Body=b"")
        self.client.head_object(**place)
        self.client.delete_object(**place)

    def explain(self, error: Exception) -> str:
        """A sentence on why the bucket can't be used, and what to set."""
        where = f"the bucket {self.storage.bucket_name}" + (
            f" at {self.storage.endpoint_url}" if self.storage.endpoint_url else ""
        )
        code = getattr(error, "response", {}).get("Error", {}).get("Code", "") or type(error).__name__
        return f"STORAGE_URL names {where}, which can't be used: {REASONS.get(code, f'{error}.')} ({code})"

    def walk(self) -> Iterator[str]:
        for row in self._listed(self.within("")):
            name = row["Key"].rpartition("/")[2]
            if DIGEST.fullmatch(name) and row["Key"] == self.key(name):
                yield name

    def sweep(self, before: datetime, *, dry_run: bool) -> int:
        """Abort what was begun to be sent and left; how many. Old marks are removed as well, and not counted."""
        if not dry_run:
            for row in self._listed(self.within(f"{SEEN}/")):
                if row["LastModified"] < before:
                    self.client.delete_object(Bucket=self.storage.bucket_name, Key=row["Key"])
        left = [row for row in self._begun() if row["Initiated"] < before]
        for row in left if not dry_run else ():
            place = {"Bucket": self.storage.bucket_name, "Key": row["Key"], "UploadId": row["UploadId"]}
            with contextlib.suppress(self.client.exceptions.NoSuchUpload):
                self.client.abort_multipart_upload(**place)
        return len(left)

    def refresh(self, sha256: str) -> bool:
        """True if the bytes are here already; their age begins anew, so that the collector leaves them."""
        found = self._head(self.key(sha256))
        if found is None:
            return False
        if timezone.now() - found["LastModified"] < YOUNG:
            return True
        self.client.put_object(Bucket=self.storage.bucket_name, Key=self._mark(sha256), Body=b"")
        # A collector may have been between the look and the mark.
        return self._head(self.key(sha256)) is not None

    def _mark(self, sha256: str) -> str:
        return self.within(f"{SEEN}/{sha256}")

    def _send(self, source: BinaryIO, sha256: str) -> None:
        self.client.upload_fileobj(
            _Proven(source, sha256), self.storage.bucket_name, self.key(sha256), Config=self.storage.transfer_config
        )

    def _head(self, key: str) -> dict | None:
        """What the store says of an object; None where there is none."""
        try:
            return self.client.head_object(Bucket=self.storage.bucket_name, Key=key)
        except self.client.exceptions.ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                raise
            return None

    def _found(self, sha256: str) -> dict:
        found = self._head(self.key(sha256))
        if found is None:
            raise FileNotFoundError(f"there is no object {sha256}")
        return found

    def _listed(self, prefix: str) -> Iterator[dict]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.storage.bucket_name, Prefix=prefix)
        for page in pages:
            yield from page.get("Contents", ())

    def _begun(self) -> Iterator[dict]:
        pages = self.client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self.storage.bucket_name, Prefix=self.within("")
        )
        for page in pages:
            for row in page.get("Uploads", ()):
                name = row["Key"].rpartition("/")[2]
                if DIGEST.fullmatch(name) and row["Key"] == self.key(name):
                    yield row


class _Proven:
    """A stream whose end is an error unless all that was read has this digest; a read is short only at the end."""

    def __init__(self, source: BinaryIO, sha256: str) -> None:
        self._source, self._sha256, self._running = source, sha256, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._filled(size) if size >= 0 else self._source.read()
        self._running.update(data)
        if (size < 0 or len(data) < size) and self._running.hexdigest() != self._sha256:
            raise WrongBytes(f"what was to be stored as {self._sha256} is {self._running.hexdigest()}")
        return data

    def _filled(self, size: int) -> bytes:
        data = self._source.read(size)
        while 0 < len(data) < size and (more := self._source.read(size - len(data))):
            data += more
        return data


class _Blocks(io.RawIOBase):
    """Blocks as a stream."""

    def __init__(self, blocks: Iterable[bytes | memoryview]) -> None:
        self._blocks, self._block = iter(blocks), memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._block.nbytes:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._block = memoryview(block).cast("B")
        count = min(len(buffer), self._block.nbytes)
        buffer[:count] = self._block[:count]
        self._block = self._block[count:]
        return count
