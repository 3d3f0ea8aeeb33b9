"""Guessing at the doors: names and passwords by the hundred, from one address and from many, in a row and at once.

The faults: the page let 120 guesses through and then the right one; the API counted in each process for itself, and
locked the owner out together with the guesser.
"""

import time
from ipaddress import ip_network

import pytest
from django.contrib.auth import hashers
from django.test import Client

from hub.errors import TooManyTries
from hub.front.peers import address_of as client_address
from hub.models import Event
from hub.services.signing_in import devices, throttle
from hub.services.signing_in.sign_in import UNKNOWN
from tests.hub import factories
from tests.hub.api_client import Api
from tests.hub.test_parallel import at_once
from tests.workers.conftest import NOBODY, use_redis
from tests.workers.stage import REDIS, clean_redis

pytestmark = pytest.mark.django_db
WRONG, THROTTLED = {"page": 422, "api": 401}, 429


def guess(door: str, name: str = "owner", password: str = "wrong", address: str = "192.0.2.1", client=None, **headers):
    """One try at a door from an address."""
    sent = {"username": name, "password": password}
    path, kind = ("/sign-in", {}) if door == "page" else ("/api/v1/sign-in", {"content_type": "application/json"})
    return (client or Client()).post(path, sent, REMOTE_ADDR=address, headers=headers, **kind)


@pytest.fixture
def clock(monkeypatch):
    """Moves the throttle's clock: `clock(seconds)`."""
    began, passed = time.time(), [0.0]
    monkeypatch.setattr(throttle.time, "time", lambda: began + passed[0])
    return lambda seconds: passed.__setitem__(0, passed[0] + seconds)


@pytest.mark.parametrize("door", ["page", "api"])
@pytest.mark.parametrize(
    ("limit", "names", "addresses"),
    [
        (throttle.PAIR, ["owner"], ["192.0.2.1"]),
        (throttle.NAME, ["owner", "OWNER"], [f"198.51.100.{n}" for n in range(200)]),
        (throttle.ADDRESS, [f"name-{n}" for n in range(200)], ["192.0.2.1"]),
        (throttle.ADDRESS, [f"name-{n}" for n in range(200)], [f"2001:db8::{n:x}" for n in range(1, 200)]),
    ],
    ids=["one name from one address", "one name from many", "many names from one", "many names from one /64"],
)
def test_after_the_free_tries_guesses_wait(people, door, limit, names, addresses, clock):
    """All free tries are answered, all others wait, and so does the right password, from there."""
    tries = [
        guess(door, names[n % len(names)], address=addresses[n % len(addresses)]).status_code
        for n in range(limit.free + 3)
    ]
    assert tries == [WRONG[door]] * limit.free + [THROTTLED] * 3
    late = guess(door, password=factories.PASSWORD, address=addresses[-1])
    assert late.status_code == THROTTLED
    wait = int(late.headers["Retry-After"])
    assert 0 < wait <= throttle.FIRST_WAIT
    assert f"in {wait} second" in late.content.decode()
    clock(wait)
    assert guess(door, password=factories.PASSWORD, address=addresses[-1]).status_code in (201, 302)


def test_both_doors_count_together(people):
    for number in range(throttle.PAIR.free):
        assert guess("page" if number % 2 else "api").status_code in (401, 422)
    assert [guess(door).status_code for door in ("page", "api")] == [THROTTLED] * 2


def test_the_waits_grow_to_a_longest_and_end(people, clock):
    waits = []
    for _ in range(throttle.PAIR.free + 14):
        answer = guess("api")
        while answer.status_code == THROTTLED:
            waits.append(int(answer.headers["Retry-After"]))
            clock(waits[-1])
            answer = guess("api")
        assert answer.status_code == 401
    assert waits[:4] == [2, 4, 8, 16]
    assert waits[-1] == throttle.PAIR.longest
    assert sum(waits[:8]) < 600, "a person who forgot is not kept for hours"


@pytest.mark.parametrize("door", ["page", "api"])
def test_the_owner_goes_on_while_strangers_are_throttled(people, door):
    """By a browser that signed in before, and by a token; not by someone else's browser, nor by a forgery."""
    known, other, forged = Client(), Client(), Client()
    assert guess("page", password=factories.PASSWORD, client=known, address="192.0.2.9").status_code == 302
    assert guess("page", "member", factories.PASSWORD, client=other, address="192.0.2.9").status_code == 302
    forged.cookies[devices.COOKIE] = "WzEsMCwieCJd:1abcde:forged"
    token = Api(people.owner)
    for number in range(throttle.NAME.free):
        guess("page", address=f"198.51.100.{number}")
    strangers = [guess(door, password=factories.PASSWORD, client=client).status_code for client in (other, forged)]
    assert strangers == [THROTTLED] * 2
    assert token.get("/me").status_code == 200
    known.post("/sign-out")
    assert guess(door, password=factories.PASSWORD, client=known).status_code in (201, 302)


def test_a_known_device_may_not_guess_for_ever(people):
    thief = Client()
    guess("page", password=factories.PASSWORD, client=thief)
    codes = [guess("page", client=thief, address=f"198.51.100.{n}").status_code for n in range(12)]
    assert codes == [422] * throttle.DEVICE.free + [THROTTLED] * 2


def test_ending_the_sessions_makes_known_devices_strangers(people):
    thief, owner = Client(), Client()
    guess("page", password=factories.PASSWORD, client=thief)
    guess("page", password=factories.PASSWORD, client=owner)
    owner.post("/account/end", {"what": "sessions"})
    codes = [guess("page", client=thief).status_code for _ in range(throttle.PAIR.free + 1)]
    assert codes[-1] == THROTTLED
    assert guess("page", password=factories.PASSWORD, client=owner).status_code == 302


def test_signing_in_often_is_no_guessing(people):
    codes = {guess("api", password=factories.PASSWORD).status_code for _ in range(throttle.ADDRESS.free + 5)}
    assert codes == {201}


def counted(act, count: int) -> int:
    """How many of `count` at the same moment were let through."""

    def attempt():
        try:
            act()
        except TooManyTries:
            return False
        return True

    outcomes = at_once(*[attempt] * count)
    assert set(outcomes) <= {True, False}, outcomes
    return sum(outcomes)


def test_many_at_once_are_no_way_around_the_count():
    buckets = throttle.of_password("owner", "192.0.2.1", None)
    assert counted(lambda: throttle.enter(buckets), 24) == throttle.PAIR.free


@pytest.fixture
def real_redis(settings):
    clean_redis()
    use_redis(settings, REDIS)
    throttle._away_until = 0.0
    yield
    clean_redis()
    use_redis(settings, NOBODY)


@pytest.mark.services
def test_many_processes_count_together_in_redis(real_redis, caplog):
    """Two processes' memories are empty to each other; what counts is in Redis."""
    buckets = throttle.of_password("owner", "192.0.2.1", None)
    assert counted(lambda: throttle.enter(buckets), 12) == throttle.PAIR.free
    assert not throttle._memory
    with pytest.raises(TooManyTries):
        throttle.enter(buckets)
    throttle.passed(buckets)
    throttle.enter(buckets)
    assert not caplog.records


@pytest.mark.services
def test_with_redis_away_guesses_still_wait_and_nobody_is_locked_out(people, real_redis, settings, caplog):
    for _ in range(2):
        assert guess("api").status_code == 401
    use_redis(settings, NOBODY)
    codes = [guess("api").status_code for _ in range(throttle.PAIR.free + 2)]
    assert codes == [401] * throttle.PAIR.free + [THROTTLED] * 2
    assert guess("api", password=factories.PASSWORD, address="192.0.2.7").status_code == 201
    assert "Redis is away" in caplog.text


def test_a_flood_of_names_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(throttle, "LARGEST_MEMORY", 50)
    for number in range(200):
        throttle.enter(throttle.of_password(f"name-{number}", f"10.0.{number}.1", None))
    assert len(throttle._memory) == 50


FORWARDED = "203.0.113.5"


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "client"),
    [
        ("192.0.2.1", FORWARDED, "", "192.0.2.1"),
        ("192.0.2.1", FORWARDED, "10.0.0.0/8", "192.0.2.1"),
        ("10.0.0.1", FORWARDED, "10.0.0.0/8", FORWARDED),
        ("10.0.0.1", f"6.6.6.6, {FORWARDED}", "10.0.0.0/8", FORWARDED),
        ("10.0.0.1", f"6.6.6.6, {FORWARDED}, 10.0.0.2", "10.0.0.0/8", FORWARDED),
        ("10.0.0.1", f"{FORWARDED}:4711", "10.0.0.0/8", FORWARDED),
        ("::ffff:10.0.0.1", "[2001:db8::7]:80", "10.0.0.0/8", "2001:db8::7"),
        ("::1", FORWARDED, "::1", FORWARDED),
        ("10.0.0.1", "unknown", "10.0.0.0/8", "10.0.0.1"),
        ("10.0.0.1", f"{FORWARDED}, <script>", "10.0.0.0/8", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.0/8", "10.0.0.1"),
        ("", FORWARDED, "10.0.0.0/8", ""),
    ],
)
def test_a_forwarded_address_is_believed_of_trusted_proxies_only(peer, forwarded, trusted, client):
    networks = [ip_network(word) for word in trusted.split()]
    assert client_address(peer, forwarded, networks) == client


@pytest.mark.parametrize("door", ["page", "api"])
def test_a_forwarded_for_header_helps_no_guesser(people, settings, door):
    headers = {"X-Forwarded-For": "203.0.113.1"}
    for number in range(throttle.PAIR.free):
        guess(door, **{"X-Forwarded-For": f"203.0.113.{number}"})
    assert guess(door, **headers).status_code == THROTTLED
    settings.TRUSTED_PROXIES = [ip_network("192.0.2.1")]
    assert guess(door, **headers).status_code == WRONG[door]


@pytest.mark.parametrize("door", ["page", "api"])
def test_unknown_wrong_inactive_and_without_password_answer_alike_after_the_same_work(people, door, monkeypatch):
    """The same words and the same number of password hashes: what takes the time is the hash."""
    people.reader.is_active = False
    people.reader.save()
    people.stranger.set_unusable_password()
    people.stranger.save()
    work, seen = [], set()
    plain = hashers.MD5PasswordHasher.encode
    monkeypatch.setattr(hashers.MD5PasswordHasher, "encode", lambda self, *given: work.append(1) or plain(self, *given))
    for name, password in [
        ("owner", "wrong"),
        ("nobody", "wrong"),
        ("reader", factories.PASSWORD),
        ("stranger", "wrong"),
        ("o\0wner", "wrong"),
        ("x" * 150, "wrong"),
    ]:
        work.clear()
        answer = guess(door, name, password, address=f"192.0.2.{len(name)}")
        if "\0" in name:
            assert answer.status_code == {"api": 400, "page": 422}[door], "a NUL is refused before it is looked at"
            continue
        assert answer.status_code == WRONG[door]
        text = answer.json()["detail"] if door == "api" else answer.context["refused"].message
        seen.add((text, len(work)))
    assert len(seen) == 1, seen


def test_the_log_tells_of_tries_without_being_filled_by_them(people):
    guess("page", password=factories.PASSWORD, address="192.0.2.8")
    guess("api", "my secret password", address="192.0.2.8")
    for _ in range(throttle.PAIR.free + 100):
        guess("page")
    told = Event.objects.filter(verb__startswith="sign_in.")
    rows = {(event.verb, event.object, event.actor_id, event.detail["way"], event.detail["door"]) for event in told}
    assert rows == {
        ("sign_in.ok", "owner", people.owner.pk, "password", "page"),
        ("sign_in.failed", UNKNOWN, None, "password", "api"),
        ("sign_in.failed", "owner", None, "password", "page"),
        ("sign_in.throttled", "owner", None, "password", "page"),
    }
    assert told.filter(verb="sign_in.throttled").count() == 1
    # On a slow machine a wait may run out meanwhile: each doubles the next, so that ten are hours.
    assert 3 + throttle.PAIR.free <= told.count() < 3 + throttle.PAIR.free + 10
    assert {event.detail["address"] for event in told} == {"192.0.2.1", "192.0.2.8"}
    assert not Event.objects.filter(object__contains="secret").exists()
