"""What web hosts share through Redis, and that a Redis which is away fails nothing."""

import pytest
import redis
from django.core.cache import caches
from django.test import override_settings

from hub.errors import TooManyTries
from hub.services.signing_in import throttle
from hub.shared import cache as shared_cache
from tests.hub.starting.hosts import NOBODY
from tests.workers.conftest import use_redis
from tests.workers.stage import REDIS, clean_redis


@pytest.fixture
def host(settings):
    """`host(url)`: the cache as one more host with this REDIS_URL has it."""
    shared_cache.SharedCache._away_until = 0.0
    made = []

    def host(url: str):
        name = f"host{len(made)}"
        changed = override_settings(CACHES={**settings.CACHES, name: shared_cache.caches(url)["default"]})
        changed.enable()
        made.append(changed)
        return caches[name]

    yield host
    for changed in reversed(made):
        changed.disable()
    shared_cache.SharedCache._away_until = 0.0


@pytest.mark.services
def test_what_one_host_worked_out_another_has(host):
    clean_redis()
    one, other = host(REDIS), host(REDIS)
    for value in ("text", "7", 7, 7.5, True, None, [{"a": [1, None]}], {"b": {}}):
        one.set("key", value)
        assert other.get("key", "nothing") == value and type(other.get("key")) is type(value)
    other.delete("key")
    assert one.get("key") is None
    assert one.get_many(["key", "other"]) == {}
    assert one.add("count", 1) and not other.add("count", 5)
    assert other.incr("count") == 2


@pytest.mark.services
def test_nothing_read_back_can_run(host):
    """What another program wrote there as a pickle is refused, not loaded."""
    clean_redis()
    cache = host(REDIS)
    cache.set("key", "value")
    server = redis.Redis.from_url(REDIS)
    (name,) = server.keys("*key")
    server.set(name, b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError):
        cache.get("key")


def test_a_cache_that_is_away_holds_nothing_and_fails_nothing(host):
    cache = host(NOBODY)
    cache.set("key", 1)
    assert cache.get("key", "default") == "default"
    assert cache.get_many(["key"]) == {} and cache.set_many({"a": 1}) == ["a"]
    assert not cache.add("key", 1) and not cache.delete("key") and "key" not in cache and not cache.touch("key")


def test_one_machine_keeps_it_in_memory():
    assert "locmem" in shared_cache.caches("")["default"]["BACKEND"]


@pytest.mark.services
def test_tries_are_counted_for_all_hosts(settings, monkeypatch):
    clean_redis()
    use_redis(settings, REDIS)
    monkeypatch.setattr(throttle, "_away_until", 0.0)
    monkeypatch.setattr(throttle, "FIRST_WAIT", 600.0)  # A busy machine is slow.
    buckets = throttle.of_password("ada", "192.0.2.1", None)
    for _ in range(throttle.PAIR.free):
        throttle.enter(buckets)
        # The next try comes to another host, whose memory knows of none.
        throttle._memory.clear()
    with pytest.raises(TooManyTries):
        throttle.enter(buckets)
    use_redis(settings, NOBODY)
