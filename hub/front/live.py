"""Event streams of jobs for any number of watchers: one connection to Redis follows all watched jobs at once.

Each watched job has a `Feed`, which keeps the latest entries of its stream and wakes its watchers. A watcher who is
further behind reads what is missing itself. Without Redis one query a second asks the database for all of them.
"""

import asyncio
import contextlib
import json
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import takewhile

import redis.asyncio
from django.db import close_old_connections

from hub import progress, queries
from hub.front.answers import Sender
from hub.front.gateway import Answer
from hub.front.refusals import Refused
from hub.http.live_events import END, HEARTBEAT, RETRY, SECONDS, STILL_HERE, Watch, event_text

log = logging.getLogger(__name__)

KEPT = 500
# Watchers who are woken at once, and writes to all of them a second: what comes faster is sent together.
TOGETHER, WRITES = 25, 1000
# New feeds join the one question to Redis when it returns.
BLOCK_MS = 250
SECONDS_AWAY, SECONDS_TO_ANSWER = 1.0, 3.0
# How often a watcher's right to see the job is asked again.
AGAIN, FRESH = 12.0, 3.0

Run = Callable[..., Awaitable]
Again = Callable[[], Awaitable[Answer]]
Entry = tuple[str, str, dict]  # id, event, data


class Feed:
    """One job that is watched. `entries` are those after the id `since`, without a gap; `news` counts what came."""

    def __init__(self, job_id: int) -> None:
        # From the beginning, and not from where a watcher says they are: who else watches reads the same feed.
        self.job_id, self.since, self.position = job_id, progress.BEGINNING, progress.BEGINNING
        self.entries: deque[Entry] = deque()
        self.snapshot: dict | None = None
        self.watchers, self.news = 0, 0
        self.waiting: set[asyncio.Future] = set()
        self.asking = asyncio.Lock()
        self.asked, self.end = 0.0, None
        self.looks: dict[bytes, tuple[float, asyncio.Future]] = {}

    async def add(self, entries: list[Entry]) -> None:
        """Entries that came after `position`."""
        self.entries += entries
        self.position = entries[-1][0]
        while len(self.entries) > KEPT:
            self.since = self.entries.popleft()[0]
        await self.wake()

    async def wake(self) -> None:
        """Tell the watchers that something is new: some at a time, so that other requests get their turn between."""
        self.news += 1
        waiting, self.waiting = self.waiting, set()
        for number, future in enumerate(waiting):
            if not future.done():
                future.set_result(None)
            if number % TOGETHER == TOGETHER - 1:
                await asyncio.sleep(0)

    async def wait(self, seconds: float) -> None:
        """Until something is new, or the seconds are over."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.add(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            pass
        finally:
            self.waiting.discard(future)

    def after(self, last_id: str) -> list[Entry] | None:
        """Entries after that id; None where some of them are not kept."""
        seen = place(last_id)
        if seen < place(self.since):
            return None
        found = list(takewhile(lambda entry: place(entry[0]) > seen, reversed(self.entries)))
        return found[::-1]


class Follower:
    """Follows the jobs that are watched, and sends each watcher what their job reports."""

    def __init__(self, url: str, run: Run) -> None:
        """`run` calls a synchronous function in a thread."""
        self.url, self.run = url, run
        self.redis: redis.asyncio.Redis | None = None
        self.feeds: dict[int, Feed] = {}
        self.away = False
        self.closing = False
        self.task: asyncio.Task | None = None

    async def stream(self, watch: Watch, sender: Sender, viewer: bytes, again: Again) -> None:
        """Send events `progress`, `log`, `token` and `state` after `watch.last_id` until 25 s are over or the job is.

        `again()` answers the same request anew, once for all streams of one `viewer` (what they signed in with) on the
        job: the stream ends when they may not see it any more.
        """
        # Not all at the same time, since watchers who came together would come back together.
        until, look = (time.monotonic() + seconds * random.uniform(0.7, 1) for seconds in (SECONDS, AGAIN))
        last_id, shown = progress.position_of(watch.last_id), None
        async with self._feed(watch.job_id) as feed:
            await sender.write(RETRY.encode(), more=True)
            while (left := until - time.monotonic()) > 0 and not self.closing:
                if time.monotonic() > look:
                    watch = await self._still(feed, viewer, again)
                    if watch is None:
                        return
                    look = time.monotonic() + AGAIN
                entries, snapshot = await self._wait(feed, last_id, shown, min(HEARTBEAT, left))
                parts = [event_text(event, _json(watch.tell(data)), entry_id) for entry_id, event, data in entries]
                if snapshot is not None:
                    shown = snapshot
                    parts += [event_text(name, _json(watch.tell(snapshot))) for name in ("state", "progress")]
                last_id = entries[-1][0] if entries else last_id
                over = None
                if not entries or snapshot is not None or any(event == "state" for _, event, _ in entries):
                    over = await self._end_of(feed)
                if over is not None:
                    # What was written between the last look and the end.
                    rest = await self._after(feed, last_id, direct=True)
                    parts += [event_text(event, _json(watch.tell(data)), entry_id) for entry_id, event, data in rest]
                    parts.append(event_text("state", _json(watch.tell(over)), END))
                await sender.write(("".join(parts) or STILL_HERE).encode(), more=True)
                if over is not None:
                    return
                await asyncio.sleep(sum(feed.watchers for feed in self.feeds.values()) / WRITES)

    async def close(self) -> None:
        """End all streams."""
        self.closing = True
        for feed in list(self.feeds.values()):
            await feed.wake()
        if self.task:
            self.task.cancel()
        if self.redis:
            await self.redis.aclose()

    @contextlib.asynccontextmanager
    async def _feed(self, job_id: int) -> AsyncIterator[Feed]:
        feed = self.feeds.setdefault(job_id, Feed(job_id))
        feed.watchers += 1
        if self.task is None or self.task.done():
            self.task = asyncio.ensure_future(self._follow())
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not feed.watchers:
                del self.feeds[job_id]

    async def _wait(self, feed: Feed, last_id: str, shown: dict | None, seconds: float) -> tuple[list, dict | None]:
        """Entries after `last_id`, and a snapshot that has not been shown; neither where `seconds` pass without."""
        until = time.monotonic() + seconds
        while True:
            news = feed.news
            entries = await self._after(feed, last_id)
            snapshot = feed.snapshot if self.away and feed.snapshot != shown else None
            left = until - time.monotonic()
            if entries or snapshot is not None or left <= 0 or self.closing:
                return entries, snapshot
            if feed.news == news:
                await feed.wait(left)

    async def _after(self, feed: Feed, last_id: str, *, direct: bool = False) -> list[Entry]:
        """Entries after that id, from the feed where it has them; `direct` asks Redis, as the feed may be behind."""
        found = None if direct else feed.after(last_id)
        if found is not None or self.away:
            return found or []
        try:
            read = await self._connection().xrange(progress.stream_key(feed.job_id), f"({last_id}", "+", count=KEPT)
        except (redis.RedisError, OSError):
            return []
        return [progress.entry_of(entry) for entry in read]

    async def _follow(self) -> None:
        """Read what all watched jobs report, until nobody watches."""
        while self.feeds:
            try:
                self.away = not await self._ask_redis()
                if not self.away:
                    continue
                await self._ask_database()
            except Exception:  # The database may be away too; whoever watches goes on when one of them is back.
                log.exception("The events of watched jobs can't be read")
            await asyncio.sleep(SECONDS_AWAY)

    async def _ask_redis(self) -> bool:
        """Add what came to the feeds; False where Redis is away."""
        keys = {progress.stream_key(feed.job_id): feed for feed in self.feeds.values()}
        places = {key: feed.position for key, feed in keys.items()}
        try:
            found = await self._connection().xread(places, count=KEPT, block=BLOCK_MS)
        except (redis.RedisError, OSError):
            return False
        for key, entries in found:
            await keys[key].add([progress.entry_of(entry) for entry in entries])
        return True

    async def _ask_database(self) -> None:
        found = await self._query(progress.snapshots, list(self.feeds))
        for job_id, data in found.items():
            if feed := self.feeds.get(job_id):
                feed.snapshot = data
                await feed.wake()

    async def _end_of(self, feed: Feed) -> dict | None:
        """How the job ended, None while it hasn't; asked once for all watchers who want to know at the same time.

        Where the database is away it hasn't ended yet: it is asked again at the next event or silence.
        """
        since = time.monotonic()
        async with feed.asking:
            if feed.asked < since:
                feed.asked = time.monotonic()
                try:
                    feed.end = await self._query(queries.job_end, feed.job_id)
                except Exception:
                    log.exception("Whether job %s has ended can't be read", feed.job_id)
            return feed.end

    async def _still(self, feed: Feed, viewer: bytes, again: Again) -> Watch | None:
        """The watch as it is allowed now, not older than `FRESH`; None where it isn't."""
        now = time.monotonic()
        asked, look = feed.looks.get(viewer, (0.0, None))
        if look is None or now - asked > FRESH:
            look = asyncio.ensure_future(self._look(again))
            feed.looks = {key: kept for key, kept in feed.looks.items() if now - kept[0] <= FRESH}
            feed.looks[viewer] = (now, look)
        return await asyncio.shield(look)

    async def _look(self, again: Again) -> Watch | None:
        try:
            answer = await again()
        except Refused:  # No thread was free in time; the client comes back soon enough.
            return None
        await self.run(answer.close)
        return answer.live

    async def _query(self, function: Callable, *arguments: object) -> object:
        return await self.run(_with_database, function, *arguments)

    def _connection(self) -> redis.asyncio.Redis:
        if self.redis is None:
            patience = {"socket_connect_timeout": SECONDS_TO_ANSWER, "socket_timeout": SECONDS_TO_ANSWER}
            self.redis = redis.asyncio.Redis.from_url(self.url, decode_responses=True, **patience)
        return self.redis


def place(entry_id: str) -> tuple[int, ...]:
    """An entry's id as numbers, which order as the entries do."""
    return tuple(map(int, entry_id.split("-")))


def _json(data: object) -> str:
    return json.dumps(data, default=str)


def _with_database(function: Callable, *arguments: object) -> object:
    """Call it between the looks at connections that Django takes around a request."""
    close_old_connections()
    try:
        return function(*arguments)
    finally:
        close_old_connections()
