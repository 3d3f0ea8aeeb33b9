"""Guessing is slowed down: wrong tries are counted in buckets, and each try beyond the free ones waits longer.

A try is counted before the password is looked at, in one step with the question whether it may be made, so that many
tries at once are no way around the count. A right one gives its count back.

The buckets are in Redis, for all web processes. While Redis is away each process counts in its own memory: N processes
then let N times as many tries through, nobody is locked out, and the log says so.
"""

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

import redis

from hub import broker
from hub.errors import TooManyTries

FIRST_WAIT = 2.0
# A bucket is forgotten this long after its last try.
SECONDS_KEPT = 24 * 3600
# A try that is turned away is told to the audit log once in this time for each bucket.
SECONDS_TOLD = 3600
PREFIX = "hub:sign-in:"
SECONDS_AWAY = 5.0
LARGEST_MEMORY = 50_000

T = TypeVar("T")

log = logging.getLogger(__name__)

_lock = threading.Lock()
_memory: OrderedDict[str, dict] = OrderedDict()
_away_until = 0.0


@dataclass(frozen=True, slots=True)
class Limit:
    """How many tries are free, and the longest wait in seconds after more; the wait doubles from `FIRST_WAIT`."""

    free: int
    longest: float


# One visitor's tries for one name; a distributed guess at one name; one address that tries many names; a known device.
PAIR, NAME, ADDRESS, DEVICE = Limit(5, 900), Limit(20, 900), Limit(60, 900), Limit(10, 900)
# Six digits are few: whoever guesses codes knows the password already.
CODE = Limit(5, 3600)
MAILS = Limit(3, 3600)


@dataclass(slots=True)
class Bucket:
    """What is kept of one key: tries, until when (POSIX seconds) the next one waits, when the log was last told."""

    tries: int = 0
    until: float = 0.0
    told: float = 0.0


Buckets = Mapping[str, Limit]


def of_password(name: str, address: str, device: str | None) -> Buckets:
    """The buckets of a try with a password. A known `device` has its own, so that strangers can't lock it out."""
    if device:
        return {f"device:{device}": DEVICE}
    who, where = name.casefold(), network_of(address)
    return {f"pair:{where}:{who}": PAIR, f"name:{who}": NAME, f"address:{where}": ADDRESS}


def network_of(address: str) -> str:
    """What one visitor holds: an IPv4 address, or the /64 of an IPv6 address; an unreadable one as it is."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:100]
    return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64" if parsed.version == 6 else str(parsed)


def enter(buckets: Buckets) -> None:
    """Count a try in each bucket; TooManyTries (429, Retry-After) where one of them says to wait, and nothing counts.

    The error's `untold` is True once an hour for each bucket: then the audit log should be told.
    """
    now = time.time()
    limits = {_key(name): limit for name, limit in buckets.items()}

    def act(found: dict[str, Bucket]) -> tuple[float, bool]:
        wait = max(bucket.until for bucket in found.values()) - now
        if wait <= 0:
            for key, bucket in found.items():
                bucket.tries += 1
                pause = _wait(bucket.tries, limits[key])
                bucket.until = now + pause if pause else 0.0
            return 0.0, False
        shut = [bucket for bucket in found.values() if bucket.until > now]
        untold = all(now - bucket.told > SECONDS_TOLD for bucket in shut)
        for bucket in shut:
            bucket.told = now if untold else bucket.told
        return wait, untold

    wait, untold = _change(list(limits), act)
    if wait > 0:
        raise TooManyTries(wait, untold=untold)


def passed(buckets: Buckets) -> None:
    """Take the try back that `enter` counted, as it was a right one; the narrowest bucket is emptied."""
    keys = [_key(name) for name in buckets]

    def act(found: dict[str, Bucket]) -> None:
        for place, key in enumerate(keys):
            bucket = found[key]
            bucket.tries, bucket.until = (max(0, bucket.tries - 1) if place else 0), 0.0

    _change(keys, act)


def forget_all() -> None:
    """Empty every bucket, in Redis and here."""
    _memory.clear()
    try:
        client = broker.prompt_client()
        if keys := list(client.scan_iter(f"{PREFIX}*")):
            client.delete(*keys)
    except (redis.RedisError, OSError) as error:
        _away(error)


def _wait(tries: int, limit: Limit) -> float:
    """Seconds before the try after this many; 0 while there are free ones."""
    return 0.0 if tries < limit.free else min(FIRST_WAIT * 2 ** min(tries - limit.free, 30), limit.longest)


def _key(name: str) -> str:
    return PREFIX + hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:32]


def _change(keys: list[str], act: Callable[[dict[str, Bucket]], T]) -> T:
    """Run `act` on the buckets and keep what it changed, in one step."""
    if time.monotonic() >= _away_until:
        try:
            return _change_in_redis(keys, act)
        except (redis.RedisError, OSError) as error:
            _away(error)
    return _change_in_memory(keys, act)


def _change_in_redis(keys: list[str], act: Callable[[dict[str, Bucket]], T]) -> T:
    def change(pipe: redis.client.Pipeline) -> T:
        found = {key: _bucket(pipe.get(key)) for key in keys}
        result = act(found)
        pipe.multi()
        for key, bucket in found.items():
            pipe.set(key, json.dumps(asdict(bucket)), ex=SECONDS_KEPT)
        return result

    return broker.prompt_client().transaction(change, *keys, value_from_callable=True)


def _change_in_memory(keys: list[str], act: Callable[[dict[str, Bucket]], T]) -> T:
    with _lock:
        found = {key: Bucket(**_memory.get(key, {})) for key in keys}
        result = act(found)
        for key, bucket in found.items():
            _memory[key] = asdict(bucket)
            _memory.move_to_end(key)
        while len(_memory) > LARGEST_MEMORY:
            _memory.popitem(last=False)
    return result


def _bucket(kept: str | None) -> Bucket:
    return Bucket(**json.loads(kept)) if kept else Bucket()


def _away(error: Exception) -> None:
    global _away_until
    _away_until = time.monotonic() + SECONDS_AWAY
    log.warning("sign-in tries are counted by each process for itself, Redis is away: %s", error)
