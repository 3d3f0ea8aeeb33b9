"""One request on its way through the front: its body in, the application's answer, that answer out."""

import asyncio
import contextlib
import hashlib
import io
from typing import TYPE_CHECKING

from hub.front import pieces
from hub.front.answers import Departure, Receive, Send, Sender, send_blocks
from hub.front.bodies import AHEAD, Body, Spool
from hub.front.gateway import Answer, Unread, call, environ_of, with_body
from hub.front.peers import address_of, holder
from hub.front.refusals import Gone, Refused, answer_of

if TYPE_CHECKING:
    from hub.front.application import Front

# Each answered by threads of its own: a check of the server's health needs no place in the queue, and one that waits
# for a database or a store that hangs holds up no other.
HEALTH = ("/healthz", "/readyz", "/metrics")
JSON = b"application/json"


class Request:
    """One request on its way through the front."""

    def __init__(self, front: "Front", scope: dict, receive: Receive) -> None:
        self.front, self.limits, self.scope = front, front.limits, scope
        self.headers = dict(scope["headers"])
        self.path = scope["path"]
        peer = (scope.get("client") or ("", ""))[0]
        forwarded = self.headers.get(b"x-forwarded-for", b"").decode("latin-1")
        self.address = holder(address_of(peer, forwarded, front.limits.trusted))
        self.user = self._credential()
        self.receive = receive
        self.body = Body(receive, self._declared(), front.limits)
        self.route = front.route_of(scope["method"], self.path)
        check = front.health.get(self.path) if self.body.ended else None
        self.is_check = check is not None
        self.pool = check or (front.watching if self.route == "live" else front.pool)
        self.sender: Sender | None = None

    async def serve(self, send: Send) -> None:
        """Receive, ask the application, send."""
        environ = environ_of(self.scope, block=self.limits.block)
        if self.body.ended:
            answer = await self._ask(with_body(environ, io.BytesIO(), None))
        else:
            with self.front.caps.place("body", self.address, self.user):
                answer = await self._with_body(environ)
        await self._send(answer, send)
        if not self.body.ended:
            await self.body.linger()

    async def refuse(self, refused: Refused, send: Send) -> None:
        """Say no, unless an answer is on its way already."""
        if self.sender is None or not self.sender.started:
            status, headers, body = answer_of(refused, self.path)
            with contextlib.suppress(Gone):
                await Sender(send, None, self.limits).whole(status, headers, body)
                await self.body.linger()

    async def _ask(self, environ: dict) -> Answer:
        return await self.pool.run(call, self.front.application, environ)

    async def _with_body(self, environ: dict) -> Answer:
        most, seconds = self._allowed()
        declared = self.body.declared
        if declared is not None and declared > most:
            raise self._too_large(most)
        small = declared is not None and declared <= self.limits.in_memory
        offset = b"0" if self.route == "stream" else self.headers.get(b"upload-offset", b"")
        if self.route in ("pieces", "stream") and not small and offset.isdigit() and len(offset) <= 18:
            return await self._in_pieces(environ, int(offset))
        return await self._spooled(environ, most, seconds, ask_first=not small)

    async def _in_pieces(self, environ: dict, offset: int) -> Answer:
        async def hand_over(piece: pieces.Piece, more: bool, onward: pieces.Onward | None) -> Answer:
            asked = {**with_body(environ, piece.stream(), piece.size), "HTTP_UPLOAD_OFFSET": str(piece.offset)}
            asked |= {"hub.declared": self.body.declared, "hub.onward": onward}
            return await self._ask({**asked, "hub.piece": piece.number, "hub.more": more})

        way = pieces.Way(hand_over, self.front.blocks.run)
        return await pieces.relay(self.body, offset, way, self.limits, self.front.memory)

    async def _spooled(self, environ: dict, most: int, seconds: float | None, *, ask_first: bool) -> Answer:
        """Receive the whole body. A large one is received only when the application, asked first, would read it."""
        front = self.front
        loop = asyncio.get_running_loop()
        until = None if seconds is None else loop.time() + seconds
        spool = Spool(self.limits, front.memory, front.disk, front.blocks, self.address)
        try:
            while not self.body.ended:
                if ask_first and (self.body.declared is not None or spool.size > self.limits.in_memory):
                    ask_first = False
                    if (answer := await self._without_body(environ, spool.size)) is not None:
                        return answer
                found = await self.body.some(None if until is None else max(0.0, until - loop.time()), wanted=AHEAD)
                if found is None:
                    raise self.body.too_long(seconds)
                for data in found:
                    if spool.size + len(data) > most:
                        raise self._too_large(most)
                    await spool.add(data)
            return await self._ask(with_body(environ, await spool.whole(), spool.size))
        finally:
            spool.close()

    async def _without_body(self, environ: dict, came: int) -> Answer | None:
        """What the application answers without reading the body; None where it would read it.

        A body of unknown length is said to be as long as what `came` of it: an application doesn't read one that it is
        told nothing of (PEP 3333), and would answer as to an empty one.
        """
        unread = Unread()
        try:
            asked = with_body(environ, unread, came if self.body.declared is None else self.body.declared)
            answer = await self._ask({**asked, "hub.asked_first": True})
        except OSError:
            if not unread.wanted:
                raise
            return None
        if not unread.wanted:
            return answer
        await self.front.blocks.run(answer.close)
        return None

    async def _send(self, answer: Answer, send: Send) -> None:
        front = self.front
        if answer.body is not None:
            self.sender = Sender(send, None, self.limits)
            await self.sender.whole(answer.status, answer.headers, answer.body)
            return
        what = "events" if answer.live is not None else "answer"
        user = f"#{answer.live.user_id}" if answer.live is not None else self.user
        self.body.abandon()
        async with contextlib.AsyncExitStack() as held:
            held.push_async_callback(front.blocks.run, answer.close)
            held.enter_context(front.caps.place(what, self.address, user))
            gone = held.enter_context(contextlib.closing(Departure(self.receive)))
            self.sender = Sender(send, gone, self.limits)
            if self.scope["method"] == "HEAD":
                await self.sender.whole(answer.status, answer.headers, b"")
            elif answer.live is not None:
                await self.sender.start(answer.status, answer.headers)
                await front.live.stream(answer.live, self.sender, self._signed_in_with(), self._again)
                await self.sender.write(b"", more=False)
            else:
                await send_blocks(answer, self.sender, front.blocks, front.answers, self.address)

    async def _again(self) -> Answer:
        environ = with_body(environ_of(self.scope, block=self.limits.block), io.BytesIO(), None)
        return await self._ask({**environ, "hub.again": True})

    def _declared(self) -> int | None:
        """The body's length; None where only its end will tell. Without either header there is no body."""
        length = self.headers.get(b"content-length", b"")
        if length.isdigit():
            return int(length)
        return None if b"transfer-encoding" in self.headers or self.scope["http_version"] == "2" else 0

    def _signed_in_with(self) -> bytes:
        """All that says who is asking, as it came."""
        return b"\n".join(b"%b:%b" % pair for pair in self.scope["headers"] if pair[0] in (b"authorization", b"cookie"))

    def _credential(self) -> str:
        """A name for the token or session that came along; Django says later whether it is one."""
        given = self.headers.get(b"authorization") or b""
        if not given:
            cookies = self.headers.get(b"cookie", b"").split(b";")
            given = next((c.strip() for c in cookies if c.strip().startswith(b"sessionid=")), b"")
        return hashlib.sha256(given).hexdigest()[:16] if given else ""

    def _allowed(self) -> tuple[int, float | None]:
        """The most bytes of a body like this, and the seconds it may take where it is text."""
        media_type = self.headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if self.route in ("pieces", "stream", "file"):
            return self.limits.file, None
        if media_type == JSON:
            return self.limits.json, self.limits.text_seconds
        if self.path.startswith("/api/"):
            return self.limits.file, None
        return self.limits.form, None

    def _too_large(self, most: int) -> Refused:
        return Refused(
            413,
            "body.too_large",
            f"The request body is larger than {most:,} bytes, the most this route takes; files go by PUT to an upload.",
        )
