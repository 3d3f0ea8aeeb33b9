"""Requests a second that granian answers, over this process's database, to clients that each keep one connection."""

import asyncio
import os
import subprocess
import sys
import time

REQUEST = "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: identity\r\n\r\n"


def compare(paths: list[str], *, clients: int, seconds: float) -> dict[str, float]:
    """Path → requests a second, in turns on the same server: the median of three."""
    from hub.runtime.valkey import free_port

    port = free_port("127.0.0.1")
    command = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--no-ws", "--log-level", "error"]
    command += ["--blocking-threads", str(clients), "bench.hub_load:application"]
    server = subprocess.Popen([sys.executable, "-m", "granian", *command], stdout=subprocess.DEVNULL)
    try:
        _wait(port)
        rates: dict[str, list[float]] = {path: [] for path in paths}
        for _ in range(3):
            for path in paths:
                rates[path].append(asyncio.run(_load(port, path, clients, seconds / 3)))
        return {path: round(sorted(found)[1], 1) for path, found in rates.items()}
    finally:
        server.terminate()
        server.wait(20)


def _wait(port: int) -> None:
    import http.client

    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/api/bare")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.3)
    raise SystemExit("granian did not start")


async def _load(port: int, path: str, clients: int, seconds: float) -> float:
    begun, counted = time.perf_counter(), 0

    async def client() -> None:
        nonlocal counted
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asked = REQUEST.format(path=path).encode()
        while time.perf_counter() - begun < seconds:
            writer.write(asked)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"{path}: {head[:200]!r}")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
            counted += 1
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return counted / (time.perf_counter() - begun)


def __getattr__(name: str) -> object:
    """`application`: the hub's, with the bare view's address beside its own."""
    if name != "application":
        raise AttributeError(name)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
    from django.conf import settings

    settings.ROOT_URLCONF = "bench.bare_urls"
    from hub.wsgi import application

    return application
