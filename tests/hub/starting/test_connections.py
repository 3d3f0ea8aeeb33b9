"""A web process takes no more connections to PostgreSQL than its setting says, whatever its threads do."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from hub.shared.database import connection_settings
from tests.hub.starting.hosts import Host, empty_database

# 32 threads of the front, each with a query; half of them leave an answer half-read, as a slow reader of a download.
PROGRAM = """
import asyncio, threading
from django.db import connection
from hub.front.pool import Pool

def count():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> 0")
        return cursor.fetchone()[0]

def stream():
    return count(), iter([b"first", b"second"])

async def main():
    pool = Pool("test", 32, 256, 10)
    answers = await asyncio.gather(*(pool.run(stream) for _ in range(200)))
    held = [next(blocks) for _, blocks in answers]
    last = await asyncio.gather(*(pool.run(count) for _ in range(32)))
    print("MOST", max([most for most, _ in answers] + last), len(held))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    with empty_database() as database:
        folder = tmp_path_factory.mktemp("pool")
        host = Host(folder / "host", database, store=folder / "store")
        yield host
        host.close()


@pytest.mark.services
@pytest.mark.parametrize("most", [1, 4])
def test_two_hundred_requests_of_32_threads_share_them(host, most):
    host.environment["HUB_DATABASE_CONNECTIONS"] = str(most)
    ran = host.run("shell", "-c", PROGRAM)
    words = [line.split() for line in ran.stdout.splitlines() if line.startswith("MOST")]
    # The shell's own thread may hold one of the pool's too.
    assert words and int(words[0][1]) <= most and words[0][2] == "200", ran.stdout + ran.stderr


def test_without_a_pool_each_thread_keeps_its_own():
    assert connection_settings(0, pooler=False, there={}) == {}
    assert connection_settings(0, pooler=True, there={}) == {"DISABLE_SERVER_SIDE_CURSORS": True}


def test_a_pool_is_of_that_size_and_keeps_the_other_options():
    changed = connection_settings(7, pooler=True, there={"OPTIONS": {"connect_timeout": 3}})
    assert changed["OPTIONS"]["pool"]["max_size"] == 7
    assert changed["OPTIONS"]["connect_timeout"] == 3
    assert changed["CONN_MAX_AGE"] == 0 and changed["CONN_HEALTH_CHECKS"]
    assert changed["DISABLE_SERVER_SIDE_CURSORS"]


def test_a_wrong_number_stops_the_start():
    with pytest.raises(ImproperlyConfigured, match="HUB_DATABASE_CONNECTIONS=-1"):
        connection_settings(-1, pooler=False, there={})
