"""Memory and disk of the front: no address takes what all others need, and nobody waits for ever."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from hub.front import pieces
from hub.front.answers import MOST, QUICK
from hub.front.application import Front
from hub.front.bodies import Body, Spool
from hub.front.caps import Budget
from hub.front.gateway import Answer
from hub.front.limits import KB, MB, Limits
from hub.front.pieces import Way

SIZE = 40 * MB
LIMITS = Limits(memory=8 * MB, in_memory=128 * KB, wait_seconds=0.2, block=64 * KB, piece=512 * KB)


def download(environ: dict, start_response) -> Iterator[bytes]:
    """A large answer made of blocks."""
    start_response("200 OK", [("Content-Length", str(SIZE))])
    return iter([bytes(environ["hub.block"])] * (SIZE // environ["hub.block"]))


class Reader:
    """Asks a front in this process for the download, and takes only the first `most` bytes of it, or the last slowly.

    `held` is what the front held at each of its writes.
    """

    def __init__(self, front: Front, address: str, most: int = SIZE, slow_from: int = SIZE) -> None:
        self.front, self.came, self.most, self.slow_from, self.started = front, 0, most, slow_from, {}
        self.held: list[int] = []
        self.full = asyncio.Event()
        scope = {"type": "http", "method": "GET", "path": "/", "headers": (), "http_version": "1.1"}
        self.task = asyncio.ensure_future(front(scope | {"client": (address, 1)}, self.receive, self.send))

    async def receive(self) -> dict:
        return await asyncio.get_running_loop().create_future()

    async def send(self, message: dict) -> None:
        if message["type"] == "http.response.start":
            self.started = message
        self.held.append(self.front.answers.used)
        if self.came > self.slow_from:
            await asyncio.sleep(1.2 * QUICK)
        self.came += len(message.get("body", b""))
        if self.came > self.most:
            self.full.set()
            await asyncio.get_running_loop().create_future()


def test_an_address_whose_readers_stop_leaves_the_downloads_of_others_alone():
    async def story() -> tuple[int, int, int]:
        front = Front(download, LIMITS)
        # Fast until they have the largest blocks, then as slow as can be.
        stopped = [Reader(front, "10.0.0.1", most=12 * MB) for _ in range(7)]
        for one in stopped:
            await one.full.wait()
        held = front.answers.used
        other = Reader(front, "10.0.0.2")
        await other.task
        for one in stopped:
            one.task.cancel()
        await asyncio.gather(*(one.task for one in stopped), return_exceptions=True)
        return held, other.came, front.answers.used

    held, came, after = asyncio.run(asyncio.wait_for(story(), 20))
    assert held <= LIMITS.memory // 16
    assert (came, after) == (SIZE, 0)


def test_a_reader_that_is_quick_gets_large_blocks_and_gives_them_back_when_it_slows_down():
    async def story() -> list[int]:
        reader = Reader(Front(download, Limits(memory=64 * MB)), "10.0.0.1", slow_from=SIZE - 3 * MB // 2)
        await reader.task
        return reader.held

    held = asyncio.run(asyncio.wait_for(story(), 20))
    assert (max(held), held[-1]) == (MOST, 64 * KB)


def test_a_download_that_finds_no_memory_is_refused_in_time_and_told_when_to_come_back():
    async def story() -> Reader:
        front = Front(download, LIMITS)
        front.answers.take(front.answers.most)
        reader = Reader(front, "10.0.0.1")
        await reader.task
        return reader

    started = asyncio.run(asyncio.wait_for(story(), 5)).started
    assert (started["status"], dict(started["headers"])[b"retry-after"]) == (503, b"10")


def test_bodies_of_an_address_leave_memory_to_others():
    front = Front(download, LIMITS)

    async def story() -> None:
        async with AsyncExitStack() as kept:
            for _ in range(40):
                spool = Spool(LIMITS, front.memory, front.disk, front.blocks, "10.0.0.1")
                kept.callback(spool.close)
                await spool.add(bytes(120 * KB))
                assert (await spool.whole()).read() == bytes(120 * KB)
            assert front.memory.used <= front.memory.most // 8
            assert front.disk.used > 3 * MB

    asyncio.run(story())
    assert (front.memory.used, front.disk.used) == (0, 0)


def test_the_disk_for_bodies_has_room_for_a_file_of_each_address():
    disk = Front(download, Limits(spool=100 * MB, file=20 * MB)).disk
    assert disk.take(20 * MB, "10.0.0.1") and not disk.take(1, "10.0.0.1")
    assert disk.take(20 * MB, "10.0.0.2")
    assert Front(download, Limits(spool=400 * MB, file=20 * MB)).disk.share == 50 * MB


@pytest.mark.parametrize("fault", ["temporary file", "write"])
def test_a_disk_that_fails_keeps_no_room(fault):
    front = Front(download, LIMITS)

    async def story() -> None:
        spool = Spool(LIMITS, front.memory, front.disk, front.blocks, "10.0.0.1")
        await spool.add(bytes(100 * KB))
        if fault == "temporary file":
            spool.limits = Limits(in_memory=128 * KB, spool_folder="/nowhere/at/all")
        else:
            await spool.add(bytes(100 * KB))
            spool.file.close()
        with pytest.raises((OSError, ValueError)):
            await spool.add(bytes(600 * KB))
        spool.close()

    asyncio.run(story())
    assert (front.memory.used, front.disk.used) == (0, 0)


async def call(function, *arguments):
    return function(*arguments)


def test_uploads_in_pieces_hand_over_small_ones_where_memory_is_short():
    sizes: list[int] = []
    memory = Budget(MB, MB)
    memory.take(700 * KB)  # an upload elsewhere

    async def hand_over(piece: pieces.Piece, more: bool, onward: object) -> Answer:
        assert piece.offset == sum(sizes) and piece.stream().read() == bytes(piece.size)
        sizes.append(piece.size)
        assert more == (sum(sizes) < 2 * MB)
        return Answer(200, [])

    async def receive() -> dict:
        return {"type": "http.request", "body": bytes(32 * KB), "more_body": True}

    asyncio.run(pieces.relay(Body(receive, 2 * MB, LIMITS), 0, Way(hand_over, call), LIMITS, memory))
    assert sum(sizes) == 2 * MB and max(sizes) == 64 * KB
    assert memory.used == 700 * KB


@pytest.mark.parametrize("ends", ["refused", "broken", "left"])
def test_an_upload_that_ends_early_gives_back_the_piece_that_was_coming(ends):
    memory = Budget(8 * MB, 8 * MB)
    left = asyncio.Event()

    async def hand_over(piece: pieces.Piece, more: bool, onward: object) -> Answer:
        while memory.used < piece.size + 64 * KB:  # The next one comes meanwhile.
            await asyncio.sleep(0)
        if ends == "broken":
            raise OSError("the disk")
        if ends == "left":
            left.set()
            await asyncio.sleep(30)
        return Answer(409, [])

    async def receive() -> dict:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": bytes(32 * KB), "more_body": True}

    async def story() -> None:
        body = Body(receive, 50 * MB, LIMITS)
        upload = asyncio.ensure_future(pieces.relay(body, 0, Way(hand_over, call), LIMITS, memory))
        if ends == "refused":
            assert (await upload).status == 409
        if ends == "left":
            await left.wait()
            upload.cancel()
        if ends != "refused":
            with pytest.raises(OSError if ends == "broken" else asyncio.CancelledError):
                await upload
        assert body.came < 4 * MB
        body.abandon()

    asyncio.run(story())
    assert memory.used == 0


def test_a_share_counts_where_something_is_held_already():
    budget = Budget(1000, 100)
    assert budget.take(300, "a") and not budget.take(1, "a")
    assert budget.take(60, "b") and not budget.take(50, "b") and budget.take(40, "b")
    assert budget.take(500) and not budget.take(1, "c", spare=True) and budget.take(100, "c")
    assert not budget.take(1, "d")
    for count, address in ((300, "a"), (100, "b"), (500, ""), (100, "c")):
        budget.give(count, address)
    assert (budget.used, budget.held) == (0, {})
    assert budget.take(20, "b") and budget.take(30, "b", spare=True) and not budget.take(1, "b", spare=True)
