"""The front before a small application, over real connections: slow and large bodies, pieces, slow readers, caps."""

import contextlib
import hashlib
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET

import pytest

from tests.hub.front.toy import LIMITS, pattern
from tests.hub.front.wire import Connection, ask, granian, served, until

JSON = {"Content_Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[int]:
    """One that cuts nobody off, for what is counted and not timed."""
    yield from serve(tmp_path_factory.mktemp("toy"), {"TOY_GRACE": "300"})


@pytest.fixture(scope="module")
def impatient_server(tmp_path_factory) -> Iterator[int]:
    """With little patience, as `LIMITS` says: for what is cut off."""
    yield from serve(tmp_path_factory.mktemp("impatient"), {})


def serve(folder: Path, more: dict) -> Iterator[int]:
    options = ("--http", "1", "--http1-header-read-timeout", "1500")
    with served(
        granian("tests.hub.front.toy:application", "asgi", *options), os.environ | more, folder / "log"
    ) as port:
        yield port


@pytest.fixture
def port(server) -> int:
    return anew(server)


@pytest.fixture
def impatient(impatient_server) -> int:
    return anew(impatient_server)


def anew(port: int) -> int:
    ask(port, "GET", "/healthz?release")
    ask(port, "GET", "/forget")
    return port


@contextlib.contextmanager
def connections(port: int, count: int) -> Iterator[list[Connection]]:
    opened = [Connection(port) for _ in range(count)]
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


def state(port: int) -> dict:
    return ask(port, "GET", "/healthz").json


def test_half_sent_bodies_hold_no_thread_and_are_told_so(impatient):
    with connections(impatient, LIMITS.threads + LIMITS.waiting + 1) as slow:
        for number, one in enumerate(slow):
            path = "/api/echo" if number % 2 else "/echo"
            one.ask("POST", path, b"half", length=100, X_Forwarded_For=f"10.0.0.{number}")
        assert ask(impatient, "POST", "/echo", b"whole").json["length"] == 5
        for number, one in enumerate(slow):
            answer = one.answer()
            assert (answer.status, answer.headers["retry-after"]) == (408, "1")
            assert one.closed()
            if number % 2:
                assert answer.headers["content-type"] == "application/problem+json"
                assert (answer.json["code"], answer.json["status"]) == ("body.slow", 408)
            else:
                assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert b"4 bytes of the request body came" in answer.body


def test_a_body_that_keeps_the_least_rate_is_taken(impatient):
    with connections(impatient, 1) as (one,):
        body = os.urandom(6 * LIMITS.rate)
        one.ask("POST", "/echo", length=len(body))
        for start in range(0, len(body), LIMITS.rate):
            one.send(body[start : start + LIMITS.rate])
            assert ask(impatient, "GET", "/echo").status == 200
        assert one.answer().json["sha256"] == hashlib.sha256(body).hexdigest()


def test_headers_that_never_end_are_cut_off(port):
    with connections(port, 2) as (silent, dripping):
        dripping.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert silent.closed() and dripping.closed()


@pytest.mark.parametrize(
    ("path", "kind", "most"),
    [
        ("/api/echo", "application/json", LIMITS.json),
        ("/api/echo", "application/octet-stream", 1_500_000),
        ("/echo", "multipart/form-data; boundary=x", LIMITS.form),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_arrive_whole_up_to_the_most_and_are_refused_beyond(port, path, kind, most, chunked):
    assert most <= LIMITS.file
    beyond = most + 1 if most in (LIMITS.json, LIMITS.form) else LIMITS.file + 1
    for size, status in ((most, 200), (beyond, 413)):
        body = os.urandom(size)
        with connections(port, 1) as (one,):
            with contextlib.suppress(ConnectionError):  # A refusal may come while we still send.
                if chunked:
                    one.ask("POST", path, Content_Type=kind, Transfer_Encoding="chunked")
                    parts = (body[start : start + 50_000] for start in range(0, size, 50_000))
                    one.send(b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n")
                else:
                    one.ask("POST", path, body, Content_Type=kind)
            if chunked and size > LIMITS.spool:
                assert one.answer().status in (413, 503)
                continue
            answer = one.answer()
            assert answer.status == status, answer
            if status == 200:
                assert answer.json == {
                    "length": size,
                    "sha256": hashlib.sha256(body).hexdigest(),
                    "declared": str(size),
                }


def test_who_may_not_send_a_large_body_is_told_before_it_comes(port):
    with connections(port, 1) as (one,):
        answer = one.ask("POST", "/api/refuse", length=3_000_000).answer()
        assert (answer.status, answer.json) == (403, {"code": "no"})


def test_an_upload_goes_over_in_pieces_and_keeps_what_came_before_a_cut(port):
    body = pattern(0, 3_000_000)
    cut = 1_111_111
    with connections(port, 1) as (one,):
        one.ask("PUT", "/api/store", body[:cut], length=len(body), Upload_Offset="0")
    until(lambda: state(port)["stored"] == cut)
    answer = ask(port, "PUT", "/api/store", body[cut:], Upload_Offset=str(cut))
    assert (answer.status, answer.json) == (200, {"received": len(body)})
    there = state(port)
    assert there["sha256"] == hashlib.sha256(body).hexdigest()
    assert len(there["pieces"]) > 3 and max(there["pieces"]) <= LIMITS.piece + (1 << 20)
    refused = ask(port, "PUT", "/api/store", body, Upload_Offset="0")
    assert (refused.status, refused.json) == (409, {"received": len(body)})


def test_an_upload_that_stalls_is_refused_and_keeps_what_came(impatient):
    with connections(impatient, 1) as (one,):
        one.ask("PUT", "/api/store", pattern(0, 400_000), length=3_000_000, Upload_Offset="0")
        answer = one.answer()
        assert (answer.status, answer.json["code"]) == (408, "body.slow")
    assert state(impatient)["stored"] == 400_000


def test_a_large_answer_arrives_whole(port):
    size = 30_000_001
    answer = ask(port, "GET", f"/big?size={size}")
    assert answer.body == pattern(0, size)


def test_readers_who_do_not_read_hold_no_thread_and_are_let_go(impatient):
    before = state(impatient)["closed"]
    with connections(impatient, LIMITS.per_address) as slow:
        for one in slow:
            one.ask("GET", "/big?size=400000000").read(100)
        assert ask(impatient, "POST", "/echo", b"whole").json["length"] == 5
        # Nobody hangs up: the front's own patience ends their answers.
        until(lambda: state(impatient)["closed"] == before + len(slow))


@pytest.mark.skipif(sys.platform != "linux", reason="the system's own time-out for readers")
def test_who_never_reads_an_answer_that_is_done_is_cut_off_by_the_system(impatient):
    with connections(impatient, 1) as (one,):
        one.ask("GET", "/whole?size=60000000").read(100)
        assert here(impatient, one)
        until(lambda: not here(impatient, one))


def here(port: int, one: Connection) -> bool:
    """Whether the server's end of this connection is open; proc(5)."""
    ends = f":{port:04X} 0100007F:{one.socket.getsockname()[1]:04X} 01"
    return ends in Path("/proc/net/tcp").read_text()


def test_what_a_client_held_is_let_go_when_they_hang_up(port):
    before = state(port)["closed"]
    with connections(port, LIMITS.per_address) as slow:
        for one in slow:
            one.ask("GET", "/big?size=400000000").read(100)
            one.socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: state(port)["closed"] == before + len(slow))
    assert ask(port, "GET", "/big?size=10").status == 200


@pytest.mark.parametrize("what", ["body", "answer"])
def test_one_address_holds_so_much_and_no_more(port, what):
    def hold(one: Connection, **headers: str) -> Connection:
        if what == "body":
            return one.ask("POST", "/api/echo", b"half", length=50_000, **headers)
        return one.ask("GET", "/api/big?size=400000000", **headers)

    def refused() -> bool:
        with connections(port, 1) as (one,):
            if what == "body":
                answer = one.ask("POST", "/api/echo", b"whole").answer()
            else:
                answer = one.ask("GET", "/api/big?size=1000000").answer()
            if answer.status == 429:
                assert answer.json["code"] == f"too_many.{what}"
                assert int(answer.headers["retry-after"]) > 0
                assert str(LIMITS.per_address) in answer.json["detail"]
            return answer.status == 429

    with connections(port, LIMITS.per_address) as held:
        for number, one in enumerate(held[:-1], 1):
            hold(one)
            # One after the other: all at once they would find the two threads busy.
            until(lambda number=number: state(port)["held"] == number)
        assert not refused()
        hold(held[-1])
        until(lambda: state(port)["held"] == LIMITS.per_address)
        assert refused()
        # Another address behind the same trusted proxy is not held up.
        assert ask(port, "POST", "/api/echo", b"whole", X_Forwarded_For="10.0.0.9").status == 200
    until(lambda: not refused())


def test_one_user_holds_so_much_from_all_addresses_together(port):
    token = {"Authorization": "Bearer ah_x"}
    with connections(port, LIMITS.per_user) as held:
        for number, one in enumerate(held):
            one.ask("POST", "/api/echo", b"half", length=50_000, X_Forwarded_For=f"10.1.0.{number}", **token)
        until(lambda: state(port)["held"] == 2 * LIMITS.per_user)
        assert ask(port, "POST", "/api/echo", b"x", X_Forwarded_For="10.1.1.1", **token).status == 429
        assert ask(port, "POST", "/api/echo", b"x", X_Forwarded_For="10.1.1.1").status == 200
    until(lambda: ask(port, "POST", "/api/echo", b"x", X_Forwarded_For="10.1.1.1", **token).status == 200)


def test_a_full_server_says_so_at_once_and_its_health_still_answers(port):
    with connections(port, LIMITS.threads + LIMITS.waiting) as held:
        for one in held:
            one.ask("GET", "/hold")
        until(lambda: state(port)["waiting"] == LIMITS.waiting)
        answer = ask(port, "GET", "/api/echo")
        assert (answer.json["code"], answer.headers["retry-after"]) == ("server.busy", "3")
        assert ask(port, "GET", "/healthz?release").status == 200
        assert [one.answer().status for one in held] == [200] * len(held)
    assert ask(port, "GET", "/api/echo").status == 200


def test_checks_that_hang_hold_up_no_other_check(port):
    with connections(port, 7) as hung:
        for one, path in zip(hung, ["/readyz", "/metrics"] * 3, strict=False):
            one.ask("GET", path)
        until(lambda: ask(port, "GET", "/state").json["inside"] == {"readyz": 2, "metrics": 2})
        hung[-1].socket.settimeout(3)
        assert hung[-1].ask("GET", "/healthz?release").answer().status == 200
        assert [one.answer().status for one in hung[:-1]] == [200] * 6


def test_only_a_check_without_a_body_needs_no_place_among_the_requests(port):
    with connections(port, 1) as (one,):
        one.ask("POST", "/healthz", b"half", length=100)
        until(lambda: state(port)["requests"] == 1)


def test_no_more_requests_are_taken_than_can_be_held(port):
    with connections(port, LIMITS.connections) as held:
        for number, one in enumerate(held):
            one.ask("POST", "/api/echo", b"half", length=100, X_Forwarded_For=f"10.2.0.{number}")
        until(lambda: state(port)["requests"] == LIMITS.connections)
        answer = ask(port, "GET", "/api/echo")
        assert (answer.status, answer.json["code"]) == (503, "server.full")
    until(lambda: ask(port, "GET", "/api/echo").status == 200)


def test_a_fault_of_the_application_is_a_500(port):
    answer = ask(port, "GET", "/api/broken")
    assert (answer.status, answer.json["code"]) == (500, "internal")
    assert ask(port, "GET", "/broken").headers["content-type"] == "text/html; charset=utf-8"
