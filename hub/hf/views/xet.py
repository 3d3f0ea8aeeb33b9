"""Uploads by Xet: where the client's chunks go, and the calls it makes there. docs/xet.md says what is checked.

The address of chunks names the chunk store: a client remembers for good what an address has, and a new store is a new
address. Nothing is told of what other stores have.
"""

import io
import json
import time
import uuid

from django.http import HttpResponse
from rest_framework.response import Response

from hub.hf import permits
from hub.hf.places import place, proposing
from hub.hf.refusals import RouteMissing
from hub.hf.view import View
from hub.models import ChunkStore
from hub.names import PULL
from hub.services.arrivals import chunks, stores

SECONDS = 15 * 60
WRITE = "xet.write"
NOWHERE = uuid.UUID(int=0)


class WriteToken(View):
    """`GET …/xet-write-token/{rev}`: where to send chunks, and a token for there. Who proposes needs no role."""

    scopes = {"GET": "write", "HEAD": "write"}

    def get(self, request, type, namespace, name, rev):
        pull = self.says("create_pr") or PULL.fullmatch(rev)
        here = (proposing if pull else place)(self.viewer, type, namespace, name, rev if pull else "write")
        need = "files" if pull else "write"
        store = stores.open_store(actor=self.actor(), repository=here.repository)
        return _connection(self, store.pk, permits.sign(WRITE, request.auth, here.repository, need))


class ReadToken(View):
    """`GET …/xet-read-token/{rev}`: an address where no chunk is. Files are downloaded by plain HTTP."""

    scopes = {"GET": "download", "HEAD": "download"}

    def get(self, request, type, namespace, name, rev):
        place(self.viewer, type, namespace, name, "download").revision(rev)
        return _connection(self, NOWHERE, "none")


class Chunks(View):
    """Of what is sent to a store, by a token for it: 401 has the client ask for another one."""

    authentication_classes = []

    def store(self, pk: uuid.UUID) -> ChunkStore:
        """The store, where the token's user may fill it. A token that expires while a body comes is good to its end."""
        scheme, _, text = self.request.headers.get("Authorization", "").partition(" ")
        seconds = None if self.request.META.get("hub.piece") else SECONDS
        permit = permits.read(WRITE, text if scheme.lower() == "bearer" else "", seconds=seconds, status=401)
        return permits.chunk_store(permit, pk)


class Xorbs(Chunks):
    """`POST …/v1/xorbs/default/{hash}`. `hub.front` hands a large one over in pieces."""

    front = {"POST": "stream"}

    def post(self, request, store, hash):
        here, meta = self.store(store), request.META
        more, length = bool(meta.get("hub.more")), meta.get("hub.declared") or meta.get("CONTENT_LENGTH") or 0
        xorb = chunks.put_xorb(
            store=here,
            name=hash,
            stream=request.stream or io.BytesIO(),
            length=int(length),
            arriving=meta.get("hub.onward"),
            more=more,
        )
        answer = Response({"was_inserted": xorb.is_new})
        answer.onward = xorb if more else None
        return answer


class Shards(Chunks):
    """`POST …/v1/shards`, and `…/v2/shards` whose answer is lines of JSON."""

    lines = False

    def post(self, request, store):
        chunks.put_shard(store=self.store(store), stream=request.stream or io.BytesIO())
        if self.lines:
            answer = json.dumps({"type": "result", "result": 1})
            return HttpResponse(f"{answer}\n", content_type="application/x-ndjson")
        return Response({"result": 1})


class Nothing(View):
    """What other hubs have and this one has not: known chunks of others, and places to send xorbs to."""

    authentication_classes = []
    little = frozenset({"POST"})

    def get(self, request, **_):
        raise RouteMissing("This hub tells no one which chunks it has. Send them.")

    post = get


def _connection(view: View, store: uuid.UUID, token: str) -> Response:
    at, until = view.address(f"/xet/{store}"), int(time.time()) + SECONDS
    headers = {"X-Xet-Cas-Url": at, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(until)}
    return Response({"casUrl": at, "exp": until, "accessToken": token}, headers=headers)
