"""Git LFS: what to send and where, the bytes themselves at signed addresses, and the check that they came.

https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md; in parts as the Hugging Face Hub has it.
"""

import base64
import binascii
from math import ceil
from urllib.parse import quote

from rest_framework import exceptions
from rest_framework.response import Response

from hub import access
from hub.errors import Invalid, NotFound
from hub.hf import permits
from hub.hf.places import Place, place, proposing
from hub.hf.view import View
from hub.http.authentication import TokenAuthentication
from hub.http.bodies import body_stream
from hub.http.file_responses import Content, bytes_response
from hub.models import ChunkStore
from hub.services import arrivals
from hub.services.arrivals import stores, transfers
from hub.services.content import reuse
from hub.services.content.manifest import Entry
from hub.storage import DIGEST

MEDIA_TYPE = "application/vnd.git-lfs+json"
SEND, FETCH = "lfs.send", "lfs.fetch"
SECONDS = 6 * 3600
MOST_OBJECTS, MOST_PARTS = 1000, 10_000
"""Files of one request, and their parts, of which each has an address; beyond it files are sent whole."""
SIZE = "arrival.size"
MISSING = {"error": {"code": 404, "message": "This repository has no such file."}}
PART = 64_000_000
"""Bytes of a part; a file of more than one is sent in parts where the client can."""


class LfsAuthentication(TokenAuthentication):
    """A bearer token, or as git-lfs sends it: Basic, with the token as password."""

    def authenticate(self, request):
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return super().authenticate(request)
        try:
            secret = base64.b64decode(given, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError) as error:
            raise exceptions.AuthenticationFailed("The Authorization header can't be read.") from error
        return self.by_secret(secret)


class Batch(View):
    """`POST {repository}.git/info/lfs/objects/batch`: for each file an address, none for one that need not be sent."""

    authentication_classes = [LfsAuthentication]
    scopes = {"POST": "download"}

    def post(self, request, type, namespace, name):
        body = self.body()
        entries = [_entry(one) for one in _objects(body)]
        if body.get("operation") == "upload":
            shown = self._uploads(body, type, namespace, name, entries)
        else:
            here = place(self.viewer, type, namespace, name, "files")
            held = reuse.held(here.repository, entries)
            shown = [_object(entry) | (self._download(here, entry) if entry in held else MISSING) for entry in entries]
        parts = any("chunk_size" in one.get("actions", {}).get("upload", {}).get("header", {}) for one in shown)
        answer = {"transfer": "multipart" if parts else "basic", "objects": shown, "hash_algo": "sha256"}
        return Response(answer, content_type=MEDIA_TYPE)

    def _uploads(self, body: dict, type: str, namespace: str, name: str, entries: list[Entry]) -> list[dict]:
        # Sent is not committed: whoever may propose may send, and which branch it is for is asked at the commit.
        here = proposing(self.viewer, type, namespace, name, _ref(body))
        need = "write" if access.may(self.viewer, here.repository, "write") else "files"
        actor, in_parts = self.actor(), "multipart" in _texts(body.get("transfers"))
        there = arrivals.have(actor=actor, repository=here.repository, entries=entries)
        wanted = [entry for entry in entries if entry not in there]
        arrivals.expect_all(actor=actor, repository=here.repository, entries=wanted)
        in_parts = in_parts and sum(entry.size for entry in wanted) <= MOST_PARTS * PART
        store = stores.open_store(actor=actor, repository=here.repository) if wanted else None
        return [
            _object(entry) | ({} if entry in there else self._upload(here, need, store, entry, in_parts))
            for entry in entries
        ]

    def _upload(self, here: Place, need: str, store: ChunkStore, entry: Entry, in_parts: bool) -> dict:
        parts = ceil(entry.size / PART) if in_parts else 1

        def at(part: int, most: int) -> str:
            key = permits.sign(SEND, self.request.auth, here.repository, need, str(store.pk), *entry, part, most)
            return self._address(entry, key)

        send: dict = {"href": at(0, entry.size)}
        if parts > 1:
            sizes = [min(PART, entry.size - begin) for begin in range(0, entry.size, PART)]
            numbered = {str(number): at(number, size) for number, size in enumerate(sizes, 1)}
            send["header"] = {"chunk_size": str(PART), **numbered}
        verify = {"href": self.address(f"/{here.prefix}{here.id}.git/info/lfs/verify")}
        return {"actions": {"upload": send, "verify": verify}}

    def _download(self, here: Place, entry: Entry) -> dict:
        key = permits.sign(FETCH, self.request.auth, here.repository, "files", *entry)
        return {"actions": {"download": {"href": self._address(entry, key)}}}

    def _address(self, entry: Entry, key: str) -> str:
        return self.address(f"/api/lfs/objects/{entry.sha256}?key={quote(key)}")


class Verify(View):
    """`POST {repository}.git/info/lfs/verify` {oid, size}: 200 where the file has come, 404 where it has not."""

    authentication_classes = [LfsAuthentication]

    def post(self, request, type, namespace, name):
        here = place(self.viewer, type, namespace, name, "read")
        entry = _entry(self.body())
        if entry not in arrivals.have(actor=self.actor(), repository=here.repository, entries=[entry]):
            raise NotFound(f"{entry.sha256[:12]}… has not come. Send it again.", code="arrival.unknown")
        return Response(_object(entry), content_type=MEDIA_TYPE)


class Object(View):
    """A signed address: PUT sends the file or a part of it, POST says that all parts are sent, GET fetches it."""

    authentication_classes = []
    front = {"PUT": "stream"}

    def put(self, request, oid):
        meta = request.META
        starts = not meta.get("hub.piece")
        store, entry, part, most = self._sending(oid, starts)
        at = 0 if starts else int(meta["HTTP_UPLOAD_OFFSET"])
        begin = PART * (part - 1) if part else 0
        body = {"begin": begin, "at": at, "most": most, "stream": body_stream(request), "starts": starts}
        goes_on = bool(meta.get("hub.more"))
        followed = {"goes_on": goes_on, "onward": meta.get("hub.onward")}
        came, onward = transfers.receive(store=store, entry=entry, **body, **followed)
        answer = Response({}, headers={"ETag": f'"{oid[:16]}-{part}"'})
        answer.onward = onward
        if goes_on:
            return answer
        if not part:
            transfers.complete(store=store, entry=entry)
        elif at + came != most:
            raise Invalid(f"Part {part} has {most:,} bytes, and {at + came:,} came. Send it again.", code=SIZE)
        return answer

    def post(self, request, oid):
        store, entry, part, _ = self._sending(oid, True)
        parts = self.body().get("parts")
        if part or not isinstance(parts, list) or len(parts) != ceil(entry.size / PART):
            raise Invalid(f'Send {{"oid", "parts"}} with all {ceil(entry.size / PART)} parts.', code=SIZE)
        transfers.complete(store=store, entry=entry)
        return Response({})

    def get(self, request, oid):
        permit = permits.read(FETCH, request.GET.get("key", ""), seconds=SECONDS)
        sha256, size = permit.facts
        entry = Entry(sha256, size)
        if sha256 != oid or entry not in reuse.held(permit.repository, [entry]):
            raise NotFound("This repository has no such file.", code="file_not_found")
        return bytes_response(request, Content.of_blob(*entry), oid)

    def _sending(self, oid: str, starts: bool) -> tuple[ChunkStore, Entry, int, int]:
        """What the address allows. One that expires while a body comes is good to the body's end."""
        permit = permits.read(SEND, self.request.GET.get("key", ""), seconds=SECONDS if starts else None)
        store_pk, sha256, size, part, most = permit.facts
        if sha256 != oid:
            raise NotFound("This address is of another file; begin the upload anew.", code="arrival.store_gone")
        return permits.chunk_store(permit, store_pk), Entry(sha256, size), part, most


def _objects(body: dict) -> list:
    objects = body.get("objects")
    if not isinstance(objects, list) or len(objects) > MOST_OBJECTS:
        raise Invalid(f'Send {{"operation", "objects": [{{"oid", "size"}}]}} with at most {MOST_OBJECTS:,} objects.')
    return objects


def _entry(given: object) -> Entry:
    oid, size = (given.get("oid"), given.get("size")) if isinstance(given, dict) else (None, None)
    good = isinstance(oid, str) and DIGEST.fullmatch(oid) and isinstance(size, int) and not isinstance(size, bool)
    if not good or not 0 <= size < 2**62:
        raise Invalid("An object is its SHA-256, 64 lower-case hex digits, and its size in bytes.", field="objects")
    return Entry(oid, size)


def _object(entry: Entry) -> dict:
    return {"oid": entry.sha256, "size": entry.size}


def _ref(body: dict) -> str:
    ref = body.get("ref")
    return str(ref.get("name", "")) if isinstance(ref, dict) else ""


def _texts(given: object) -> list[str]:
    return [text for text in given if isinstance(text, str)] if isinstance(given, list) else []
