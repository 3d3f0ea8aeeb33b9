"""Bytes over HTTP, of a blob or made on the way: in blocks, one Range, If-Range and If-None-Match by SHA-256.

RFC 9110 §13-14. With HUB_DOWNLOADS=redirect a stored file in S3 is fetched from there: 302 to an address that the hub
has signed, for this one object and for minutes. HEAD, small files, pictures, and what is made on the way are answered
here, with the hub's own ETag.
"""

import mimetypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.utils.http import content_disposition_header, parse_etags

from hub.errors import HubError
from hub.models import Blob
from hub.storage import blobs

BLOCK = 1 << 20
# A smaller file costs less here than another connection; and how long an address that was signed is good for.
REDIRECTED_FROM = 1 << 20
SIGNED_SECONDS = 300
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


class OutOfRange(HubError):
    """The range asks for bytes past the file's end."""

    status, code = 416, "range"

    def __init__(self, size: int) -> None:
        super().__init__(f"The file has {size} bytes; the range asks for bytes outside them.", size=size)
        self.headers = {"Content-Range": f"bytes */{size}"}


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes whose digest and size are known; `open` gives a seekable stream of them.

    `address(filename, seconds)` is where they can be fetched without us; None where they can't.
    """

    sha256: str
    size: int
    open: Callable[[], BinaryIO]
    address: Callable[[str, int], str | None] = lambda filename, seconds: None

    @classmethod
    def of_blob(cls, sha256: str, size: int) -> "Content":
        """The bytes of a blob."""
        return cls(sha256, size, partial(blobs.open, sha256), partial(blobs.address, sha256))


def blob_response(request: HttpRequest, blob: Blob, filename: str) -> HttpResponseBase:
    """A blob's bytes; see `bytes_response`."""
    return bytes_response(request, Content.of_blob(blob.sha256, blob.size), filename)


def picture_type(path: str) -> str | None:
    """The media type, if the file is a picture a card may show."""
    guessed = mimetypes.guess_type(path)[0]
    return guessed if guessed in PICTURES else None


def bytes_response(
    request: HttpRequest, content: Content, filename: str, *, etag: str | None = None
) -> HttpResponseBase:
    """The content as attachment: 200, 206, 304, or 302 to the store. Several ranges get the whole file.

    `etag` is what the bytes are known by, their SHA-256 where it is left out. Where bytes are given, `start` is the
    first of them and `whole` says whether they are all. Errors: OutOfRange.
    """
    etag = f'"{etag or content.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Disposition": content_disposition_header(True, filename.rsplit("/", 1)[-1]),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
    }
    if matches(request.headers.get("If-None-Match", ""), etag):
        return HttpResponse(status=304, headers=headers)
    part = wanted_range(request, etag, content.size)
    if part == "unsatisfiable":
        raise OutOfRange(content.size)
    start, stop = part or (0, content.size)
    if away := _elsewhere(request, content, filename):
        return _gives(HttpResponseRedirect(away, headers={"Cache-Control": "private, no-store"}), start, not part)
    headers["Content-Length"] = str(stop - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
    made = HttpResponse if request.method == "HEAD" else StreamingHttpResponse
    body = (
        b"" if request.method == "HEAD" else blocks(content.open(), start, stop, request.META.get("hub.block", BLOCK))
    )
    response = made(body, status=206 if part else 200, headers=headers, content_type="application/octet-stream")
    return _gives(response, start, not part)


def gives_bytes(request: HttpRequest, response: HttpResponseBase) -> bool:
    """True where the answer gives bytes of a file, or the address where they are fetched: a download."""
    return request.method == "GET" and response.status_code in (200, 206, 302)


def _gives(response: HttpResponseBase, start: int, whole: bool) -> HttpResponseBase:
    response.start, response.whole = start, whole
    return response


def _elsewhere(request: HttpRequest, content: Content, filename: str) -> str | None:
    """The address in the store that this request is sent to."""
    own = request.method != "GET" or content.size < REDIRECTED_FROM or picture_type(filename)
    # The store has ETags of its own, so only the hub can compare.
    if settings.DOWNLOADS != "redirect" or own or "If-Range" in request.headers:
        return None
    return content.address(filename.rsplit("/", 1)[-1], SIGNED_SECONDS)


def matches(header: str, etag: str) -> bool:
    """True if an If-None-Match header holds this tag, weak ones too, or `*`."""
    return any(given in ("*", etag, f"W/{etag}") for given in parse_etags(header))


def wanted_range(request: HttpRequest, etag: str, size: int) -> tuple[int, int] | str | None:
    """[start, stop) of the one range asked for; None for the whole file; "unsatisfiable" for none of its bytes."""
    found = RANGE.fullmatch(request.headers.get("Range", "").strip())
    if not found or request.method not in ("GET", "HEAD") or request.headers.get("If-Range", etag) != etag:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(0, size - int(last)), size if int(last) else 0
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    return (start, stop) if start < stop else "unsatisfiable"


def blocks(stream: BinaryIO, start: int, stop: int, size: int = BLOCK) -> Iterator[bytes]:
    """The bytes [start, stop) in blocks of `size`, closing the stream at the end or when the client goes away."""
    with stream:
        stream.seek(start)
        while start < stop:
            block = stream.read(min(size, stop - start))
            if not block:
                raise OSError("the blob is shorter than its row says")
            start += len(block)
            yield block
