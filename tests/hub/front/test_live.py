"""Watchers of a job while Redis, the database, or both are away for a moment: they wait, and go on."""

import asyncio
import json
from collections.abc import Callable

import pytest
import redis
from django.db import OperationalError

from hub import progress, queries
from hub.front import live
from hub.http.live_events import Watch

JOB = 7


class Sites:
    """A Redis and a database, each of which can be away; `asked` counts the looks at the database."""

    def __init__(self) -> None:
        self.redis_away = self.database_away = False
        self.entries: list[tuple[str, dict]] = []
        self.asked, self.end = 0, None

    def say(self, event: str, **data: object) -> None:
        self.entries.append((f"{len(self.entries) + 1}-0", {"event": event, "data": json.dumps(data)}))

    async def xread(self, places: dict[str, str], **_: object) -> list:
        await asyncio.sleep(0.01)
        if self.redis_away:
            raise redis.ConnectionError("away")
        ((key, place),) = places.items()
        later = [entry for entry in self.entries if live.place(entry[0]) > live.place(place)]
        return [(key, later)] if later else []

    async def xrange(self, *_: object, **__: object) -> list:
        return []

    async def aclose(self) -> None:
        """Nothing is open."""

    def snapshots(self, job_ids: list[int]) -> dict[int, dict]:
        self._look()
        return {job_id: {"state": "running", "message": "as the database knows"} for job_id in job_ids}

    def job_end(self, job_id: int) -> dict | None:
        self._look()
        return self.end

    def _look(self) -> None:
        self.asked += 1
        if self.database_away:
            raise OperationalError("away")


class Reader:
    """Where a stream's events go."""

    text = ""

    async def write(self, data: bytes, *, more: bool) -> None:
        self.text += data.decode()


@pytest.fixture
def sites(monkeypatch) -> Sites:
    found = Sites()
    monkeypatch.setattr(progress, "snapshots", found.snapshots)
    monkeypatch.setattr(queries, "job_end", found.job_end)
    monkeypatch.setattr(live, "SECONDS_AWAY", 0.02)
    monkeypatch.setattr(live, "HEARTBEAT", 0.05)
    return found


def watched(sites: Sites, story: Callable) -> str:
    """What a watcher of the job was sent while `story(sees)` went on; `sees(word)` waits until they see it."""

    async def run(function: Callable, *arguments: object) -> object:
        return function(*arguments)

    async def watch() -> str:
        follower, reader = live.Follower("redis://nobody", run), Reader()
        follower.redis = sites
        watching = asyncio.ensure_future(follower.stream(Watch(JOB, "", 1, lambda data: data), reader, b"", None))

        async def sees(word: str) -> None:
            while word not in reader.text:
                assert not watching.done(), watching.result()
                await asyncio.sleep(0.01)

        async with asyncio.timeout(5):
            await story(sees)
            sites.end = {"state": "done"}
            await watching
        await follower.close()
        return reader.text

    return asyncio.run(watch())


async def enough(sites: Sites) -> None:
    """Until the database has been asked a few times more."""
    before = sites.asked
    while sites.asked < before + 3:
        await asyncio.sleep(0.01)


def test_events_go_on_after_redis_and_the_database_were_away_together(sites):
    async def story(sees) -> None:
        sites.say("log", text="before")
        await sees("before")
        sites.redis_away = sites.database_away = True
        await enough(sites)
        sites.database_away = False
        await sees("as the database knows")
        sites.redis_away = False
        sites.say("log", text="after")
        await sees("after")

    assert "id: end" in watched(sites, story)


def test_a_stream_outlives_a_database_that_is_away(sites):
    async def story(sees) -> None:
        sites.database_away = True
        await enough(sites)
        sites.say("state", state="running")
        sites.say("log", text="meanwhile")
        await sees("meanwhile")
        sites.database_away = False

    assert "id: end" in watched(sites, story)
