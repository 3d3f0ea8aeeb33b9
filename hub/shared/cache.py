"""What one web host worked out and another need not: Django's cache in Redis, where the site has one.

It keeps JSON, as nothing that is read back from a server should be able to run. Without Redis everything is worked out
anew: a cache that is away costs time and fails nothing.
"""

import json
import logging
import time
from collections.abc import Callable

import redis
from django.core.cache.backends.redis import RedisCache

# Nobody waits long for what can be worked out; after a failure nobody asks for a while.
SECONDS_TO_ANSWER = 1.0
SECONDS_AWAY = 5.0

log = logging.getLogger(__name__)


class Json:
    """Values as JSON; whole numbers as they are, so that Redis can count with them."""

    def dumps(self, value: object) -> int | str:
        """The value for Redis; TypeError for what JSON has no form for."""
        return value if type(value) is int else json.dumps(value)

    def loads(self, kept: bytes) -> object:
        """What `dumps` was given."""
        return json.loads(kept)


class SharedCache(RedisCache):
    """Django's, where a server that is away holds nothing: `get` gives the default, `set` does nothing."""

    _away_until = 0.0

    def get(self, key, default=None, version=None):
        return self._spared(lambda: super(SharedCache, self).get(key, default, version), default)

    def get_many(self, keys, version=None):
        return self._spared(lambda: super(SharedCache, self).get_many(keys, version), {})

    def set(self, key, value, *args, **how):
        self._spared(lambda: super(SharedCache, self).set(key, value, *args, **how), None)

    def set_many(self, data, *args, **how):
        return self._spared(lambda: super(SharedCache, self).set_many(data, *args, **how), list(data))

    def add(self, key, value, *args, **how):
        return self._spared(lambda: super(SharedCache, self).add(key, value, *args, **how), False)

    def touch(self, key, *args, **how):
        return self._spared(lambda: super(SharedCache, self).touch(key, *args, **how), False)

    def delete(self, key, version=None):
        return self._spared(lambda: super(SharedCache, self).delete(key, version), False)

    def has_key(self, key, version=None):
        return self._spared(lambda: super(SharedCache, self).has_key(key, version), False)

    def clear(self):
        return self._spared(super().clear, False)

    def _spared(self, ask: Callable[[], object], without: object) -> object:
        cls = type(self)
        if time.monotonic() < cls._away_until:
            return without
        try:
            return ask()
        except (redis.RedisError, OSError) as error:
            cls._away_until = time.monotonic() + SECONDS_AWAY
            log.warning("the shared cache is away, what it held is worked out anew: %s", error)
            return without


def caches(url: str) -> dict:
    """Django's CACHES: shared in Redis at `url`, or in this process's memory where there is none."""
    if not url:
        return {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    patience = {"socket_timeout": SECONDS_TO_ANSWER, "socket_connect_timeout": SECONDS_TO_ANSWER}
    options = {"serializer": "hub.shared.cache.Json", **patience}
    backend = "hub.shared.cache.SharedCache"
    return {"default": {"BACKEND": backend, "LOCATION": url, "KEY_PREFIX": "hub:cache", "OPTIONS": options}}
