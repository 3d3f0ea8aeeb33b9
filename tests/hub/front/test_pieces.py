"""A body that goes over in pieces: whom it goes to, in what order, and when the application is asked about it."""

import asyncio

import pytest

from hub.front import pieces
from hub.front.bodies import Body
from hub.front.caps import Budget
from hub.front.gateway import Answer
from hub.front.limits import KB, MB, Limits
from hub.front.refusals import Gone
from tests.hub.front.toy import pattern

LIMITS = Limits(piece=4 * MB)
MESSAGE = 96 * KB


class Application:
    """Takes a body into `stored`; `asked` are the offsets that it was asked about, `closed` counts the ends."""

    def __init__(self, *, stops_at: int | None = None, refuses_at: int | None = None) -> None:
        self.stored, self.asked, self.ended = bytearray(), [], None
        self.stops_at, self.refuses_at, self.closed, self.way = stops_at, refuses_at, 0, self

    async def hand_over(self, piece: pieces.Piece, more: bool, onward: object) -> Answer:
        assert piece.offset == len(self.stored)
        assert (onward is None) == (not self.asked)
        self.asked.append(piece.offset)
        self.ended = not more
        if self.refuses_at is not None and piece.offset + piece.size > self.refuses_at:
            return Answer(403, [])
        self.stored += piece.stream().read()
        return Answer(200, [], onward=self if more else None)

    def take(self, offset: int, chunks: list[bytes]) -> bool:
        assert offset == len(self.stored)
        if self.stops_at is not None and offset + sum(map(len, chunks)) > self.stops_at:
            return False
        self.stored += b"".join(chunks)
        return True

    def close(self) -> None:
        self.closed += 1


def send(application: Application, size: int, *, cut: int | None = None) -> tuple[Answer, Budget]:
    """The answer to a body of `size` bytes, of which `cut` come."""
    came, memory = 0, Budget(64 * MB, 64 * MB)

    async def receive() -> dict:
        nonlocal came
        await asyncio.sleep(0)
        count = min(MESSAGE, (size if cut is None else cut) - came)
        if not count:
            return {"type": "http.disconnect"}
        came += count
        return {"type": "http.request", "body": pattern(came - count, count), "more_body": came < size}

    async def call(function, *arguments):
        return function(*arguments)

    way = pieces.Way(application.hand_over, call)
    try:
        answer = asyncio.run(pieces.relay(Body(receive, size, LIMITS), 0, way, LIMITS, memory))
    finally:
        assert memory.used == 0
    return answer


def test_the_application_is_asked_first_and_last_and_all_bytes_come_once_and_in_order():
    application, size = Application(), 20 * MB + 7
    assert send(application, size).status == 200
    assert application.stored == pattern(0, size)
    assert len(application.asked) == 2 and application.asked[0] == 0 and application.ended
    assert application.closed == 1


def test_it_is_asked_again_after_so_many_bytes(monkeypatch):
    monkeypatch.setattr(pieces, "STRETCH", 5 * MB)
    application, size = Application(), 20 * MB
    send(application, size)
    assert application.stored == pattern(0, size)
    between = [after - before for before, after in zip(application.asked, application.asked[1:], strict=False)]
    assert len(application.asked) >= 4 and max(between) <= 5 * MB


def test_it_is_asked_again_after_so_many_seconds(monkeypatch):
    monkeypatch.setattr(pieces, "STRETCH_SECONDS", 0.0)
    application, size = Application(), 24 * MB
    send(application, size)
    assert application.stored == pattern(0, size) and len(application.asked) > 4


def test_what_is_not_taken_onward_is_given_to_the_application_whose_refusal_ends_the_body():
    application = Application(stops_at=6 * MB, refuses_at=6 * MB)
    assert send(application, 30 * MB).status == 403
    assert application.stored == pattern(0, len(application.stored))
    assert len(application.stored) <= 6 * MB < len(application.stored) + 2 * pieces.STEP
    assert application.closed == 1


def test_what_is_not_taken_onward_and_not_refused_goes_on():
    application, size = Application(stops_at=6 * MB), 40 * MB
    assert send(application, size).status == 200
    assert application.stored == pattern(0, size)
    assert len(application.asked) > 6


def test_what_came_before_a_cut_is_handed_over_as_the_last():
    application, cut = Application(), 7 * MB + 11
    with pytest.raises(Gone):
        send(application, 30 * MB, cut=cut)
    assert application.stored == pattern(0, cut)
    assert application.ended and application.closed == 1
