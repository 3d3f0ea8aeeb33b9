"""A small WSGI application behind the front with small limits, served by the real server in tests."""

import hashlib
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import parse_qs

from hub.front.application import Front
from hub.front.limits import KB, Limits
from hub.front.peers import networks

LIMITS = Limits(
    threads=2,
    waiting=2,
    wait_seconds=30.0,
    grace=float(os.environ.get("TOY_GRACE", 0.8)),
    rate=64 * KB,
    text_seconds=30.0,
    memory=8_000_000,
    spool=2_500_000,
    in_memory=64 * KB,
    json=200_000,
    form=400_000,
    file=4_000_000,
    piece=512 * KB,
    block=64 * KB,
    connections=20,
    per_address=6,
    per_user=4,
    trusted=networks(["127.0.0.1"]),
)

held = threading.Event()
inside: Counter[str] = Counter()
closed: list[str] = []
stored = bytearray()
pieces: list[int] = []


class Download:
    """Blocks that are made on the way, and a note of their end."""

    streaming = True

    def __init__(self, size: int, block: int) -> None:
        self.size, self.block = size, block

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self.size, self.block):
            yield pattern(start, min(self.block, self.size - start))

    def close(self) -> None:
        """Noted, so that a test can see it."""
        closed.append("download")


# Of a prime length, so that blocks in a wrong place don't look right.
TURN = random.Random(0).randbytes(65_537)


def pattern(start: int, count: int) -> bytes:
    """`count` bytes of an endless file from `start` on."""
    first = start % len(TURN)
    return (TURN * ((first + count) // len(TURN) + 1))[first : first + count]


def store(environ: dict) -> tuple[str, dict]:
    """Append a piece at its offset."""
    offset, body = int(environ["HTTP_UPLOAD_OFFSET"]), environ["wsgi.input"].read()
    if offset != len(stored):
        return "409 Conflict", {"received": len(stored)}
    stored.extend(body)
    pieces.append(len(body))
    return "200 OK", {"received": len(stored)}


def wsgi(environ: dict, start_response: Callable) -> object:
    """What the tests ask for, by the last word of the path."""
    query = {name: values[0] for name, values in parse_qs(environ["QUERY_STRING"], keep_blank_values=True).items()}
    status, answer = "200 OK", {}
    match environ["PATH_INFO"].rpartition("/")[2]:
        case "big":
            size = int(query["size"])
            start_response(status, [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))])
            return Download(size, environ["hub.block"])
        case "whole":
            start_response(status, [("Content-Type", "application/octet-stream"), ("Content-Length", query["size"])])
            return [pattern(0, int(query["size"]))]
        case "echo":
            length = int(environ.get("CONTENT_LENGTH") or 0)
            body = environ["wsgi.input"].read(length) if length else b""  # as Django does
            answer = {"length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
            answer["declared"] = environ.get("CONTENT_LENGTH")
        case "refuse":
            status, answer = "403 Forbidden", {"code": "no"}
        case "hold" | "readyz" | "metrics" as name:
            inside[name] += 1
            held.wait(60)
            inside[name] -= 1
        case "healthz" | "state":
            if "release" in query:
                held.set()
            answer = {"closed": len(closed), "stored": len(stored), "pieces": pieces}
            answer |= {"waiting": application.pool.waiting, "held": sum(application.caps.held.values())}
            answer |= {"requests": application.caps.total, "inside": +inside}
            answer["sha256"] = hashlib.sha256(stored).hexdigest()
        case "store":
            status, answer = store(environ)
        case "forget":
            stored.clear(), pieces.clear(), held.clear()
        case "broken":
            raise ValueError("broken")
    body = json.dumps(answer).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


application = Front(wsgi, LIMITS, route_of=lambda method, path: "pieces" if path.endswith("/store") else "")
