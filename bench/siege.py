"""Does a siege freeze the site? Half-sent bodies, watchers of events, slow readers and slow headers, all at once.

    python bench/siege.py [--quick] [--compare wsgi] [--json FILE]
                          [--bodies N] [--watchers N] [--readers N] [--headers N]

Starts a hub's web server (the command of `make up`) over a fresh data folder, and measures the pages without and with
the siege, on connections of their own. With `--compare wsgi` the same is done to granian's WSGI server with 32 threads,
which served the hub before, and the ordinary case is measured on both: requests a second, and CPU seconds of the
server, for a JSON answer, a page, an upload and a download. All clients run on the same machine as the server.
"""

import argparse
import asyncio
import contextlib
import hashlib
import http.client
import io
import json
import multiprocessing
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
DATA = Path(tempfile.mkdtemp(prefix="siege-"))
UNCAPPED = {"HUB_WEB_PER_ADDRESS": "100000", "HUB_WEB_PER_USER": "100000", "HUB_WEB_REQUESTS": "100000"}
os.environ.pop("REDIS_URL", None)
os.environ |= {"HUB_DATA": str(DATA), "DJANGO_SETTINGS_MODULE": "hub.settings", "OMP_NUM_THREADS": "1"} | UNCAPPED

from besiegers import Siege, half_body, slow_headers, slow_reader, watcher  # noqa: E402
from hub_server import Server, centile  # noqa: E402

TIMEOUT = 30.0
PAGES = ("/", "/api/v1/methods", "/ada/sentiment")


class Place:
    """What is served: a user with a token, a repository, an upload under way, a large file, a running job."""

    def __init__(self, megabytes: int) -> None:
        import django

        django.setup()
        from django.core.management import call_command

        from hub.models import Job, State
        from hub.services import accounts, repositories, tokens
        from hub.services.content import companions
        from hub.services.starting.static_files import collect_static

        call_command("migrate", interactive=False, verbosity=0)
        collect_static()
        user = accounts.create_user(username="ada", email="ada@example.org", password="correct horse battery")
        _, secret = tokens.create_token(actor=user, name="bench", scopes=("read", "write", "admin"))
        self.authorization = {"Authorization": f"Bearer {secret}"}
        repository = repositories.create_repository(
            actor=user, namespace=user.namespace, name="sentiment", kind="adapter"
        )
        stream = io.BytesIO(b"".join(tensor_file(megabytes)))
        companions.add_companion(
            actor=user, repository=repository, kind="notes", name="large.safetensors", stream=stream
        )
        self.large = "/api/v1/repositories/ada/sentiment/companions/notes/large.safetensors"
        self.companions = "/api/v1/repositories/ada/sentiment/companions?kind=notes&name="
        self.uploads = "/api/v1/repositories/ada/sentiment/uploads"
        self.job = Job.objects.create(
            kind="lego", created_by=user, output_namespace=user.namespace, output_name="x", state=State.RUNNING
        ).pk


def tensor_file(megabytes: int) -> Iterator[bytes]:
    """A safetensors file of so many blocks of 1 MiB, the first of which has the header."""
    block = os.urandom(1 << 20)
    size = megabytes << 20
    header = json.dumps({"x": {"dtype": "U8", "shape": [size - 1000], "data_offsets": [0, size - 1000]}}).encode()
    first = (992).to_bytes(8, "little") + header.ljust(992)
    yield first + block[len(first) :]
    for _ in range(megabytes - 1):
        yield block


async def visit(port: int, seconds: float, visitors: int = 4) -> list[float]:
    """How long the pages take, each visitor asking one after the other on a connection that is kept."""
    times: list[float] = []
    until = time.monotonic() + seconds

    async def one(number: int) -> None:
        reader = writer = None
        while time.monotonic() < until:
            began = time.monotonic()
            try:
                async with asyncio.timeout(TIMEOUT):
                    if writer is None or writer.is_closing() or reader.at_eof():
                        reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(f"GET {PAGES[number % len(PAGES)]} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                    await reader.readexactly(int(length.split(b":")[1]))
                assert b" 200 " in head[:20], head[:100]
            except (TimeoutError, OSError, asyncio.IncompleteReadError):
                writer = None
            times.append(time.monotonic() - began)
            number += 1
            await asyncio.sleep(0.01)

    await asyncio.gather(*(one(number) for number in range(visitors)))
    return times


class Publisher(threading.Thread):
    """Reports the job's progress twice a second, with the time."""

    def __init__(self, job: int) -> None:
        super().__init__(daemon=True)
        self.job, self.stop = job, threading.Event()

    def run(self) -> None:
        from hub.progress import publish_progress

        while not self.stop.wait(0.5):
            publish_progress(self.job, "progress", fraction=0.5, message=f"at {time.monotonic():.6f}", figures={})


async def besiege(server: Server, place: Place, options: argparse.Namespace) -> dict:
    """Times of the pages before and during the siege, and what the siege held meanwhile."""
    calm = await visit(server.port, options.seconds)
    paths = [f"weights/{number}.safetensors" for number in range(options.bodies)]
    files = [{"path": path, "size": 100_000_000, "sha256": hashlib.sha256(path.encode()).hexdigest()} for path in paths]
    begun = json.loads(
        server.ask(
            "POST",
            place.uploads,
            {**place.authorization, "Content-Type": "application/json"},
            json.dumps({"files": files}),
        )
    )
    put = f"/api/v1/uploads/{begun['id']}/files"
    json_headers = {**place.authorization, "Content-Type": "application/json"}
    form_headers = {"Content-Type": "application/x-www-form-urlencoded"}
    late: list[float] = []

    def seen(line: bytes) -> None:
        if line.startswith(b"data:") and b"at " in line:
            late.append(time.monotonic() - float(line.split(b'"at ')[1].split(b'"')[0]))

    quarter = options.bodies // 4
    besiegers = [
        (half_body("JSON, half sent", "POST", lambda n: "/api/v1/jobs/check", json_headers), quarter),
        (half_body("form, half sent", "POST", lambda n: "/sign-in", form_headers), quarter),
        (
            half_body(
                "upload, half sent", "PUT", lambda n: f"{put}/{paths[n]}", {**place.authorization, "Upload-Offset": "0"}
            ),
            quarter,
        ),
        (
            half_body("file, 2 KB a second", "POST", lambda n: f"{place.companions}{n}", place.authorization, 2048),
            options.bodies - 3 * quarter,
        ),
        (
            watcher("watchers of events", f"/api/v1/jobs/{place.job}/events", place.authorization, seen),
            options.watchers,
        ),
        (slow_reader("readers, 1 KB a second", place.large, place.authorization), options.readers),
        (slow_headers("headers, never ended"), options.headers),
    ]
    publisher = Publisher(place.job)
    with apart(Siege("127.0.0.1", server.port), [(one, count) for one, count in besiegers if count], late) as told:
        publisher.start()
        await asyncio.to_thread(told)
        cpu = server.cpu()
        besieged = await visit(server.port, options.siege_seconds)
        cpu, memory = (server.cpu() - cpu) / options.siege_seconds, server.anonymous_megabytes()
        open_before, open_after, late = await asyncio.to_thread(told)
    publisher.stop.set()
    return {
        "calm": calm,
        "besieged": besieged,
        "open": {name: (open_before[name], open_after.get(name, 0)) for name in open_before},
        "late": late,
        "cpu": cpu,
        "memory": memory,
    }


@contextlib.contextmanager
def apart(siege: Siege, besiegers: list, late: list[float]) -> Iterator[Callable[[], object]]:
    """The siege in a process of its own. The first call says when it holds; the second ends it, and gives what was
    open at its begin and end, and how late events were."""
    here, there = multiprocessing.get_context("fork").Pipe()

    async def hold() -> None:
        async with siege.held(besiegers):
            await asyncio.sleep(2)
            late.clear()
            before = dict(siege.open)
            there.send("held")
            await asyncio.to_thread(there.recv)
            there.send((before, dict(siege.open), late))

    child = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(hold()), daemon=True)
    child.start()
    asked = iter(("begin", "end"))

    def told() -> object:
        if next(asked) == "end":
            here.send("end")
        if not here.poll(120):
            raise SystemExit("The siege did not hold within two minutes.")
        return here.recv()

    try:
        yield told
    finally:
        child.terminate()
        child.join()


def hammer(
    server: Server, seconds: float, ask: Callable[[http.client.HTTPConnection], None], clients: int = 8
) -> tuple[float, float]:
    """Requests a second of eight clients, and CPU milliseconds of the server a request."""
    counts, until, cpu = [0] * clients, time.monotonic() + seconds, server.cpu()

    def one(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while time.monotonic() < until:
            ask(connection)
            counts[number] += 1

    threads = [threading.Thread(target=one, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds, 1000 * (server.cpu() - cpu) / sum(counts)


def get(path: str) -> Callable[[http.client.HTTPConnection], None]:
    def ask(connection: http.client.HTTPConnection) -> None:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status

    return ask


def transfers(server: Server, place: Place, megabytes: int) -> dict[str, tuple[float, float]]:
    """MB a second, and CPU seconds of the server a GB, of one upload and one download."""
    found = {}
    size = megabytes << 20
    blocks, digest = list(tensor_file(megabytes)), hashlib.sha256()
    for block in blocks:
        digest.update(block)
    files = [{"path": f"{server.name}.safetensors", "size": size, "sha256": digest.hexdigest()}]
    headers = {**place.authorization, "Content-Type": "application/json"}
    begun = json.loads(server.ask("POST", place.uploads, headers, json.dumps({"files": files})))
    path = f"/api/v1/uploads/{begun['id']}/files/{server.name}.safetensors"
    headers = {**place.authorization, "Upload-Offset": "0", "Content-Length": str(size)}
    with timed(server, found, "upload", size):
        answer = server.ask("PUT", path, headers, iter(blocks))
    assert json.loads(answer)["received"] == size, answer
    server.ask("DELETE", f"/api/v1/uploads/{begun['id']}", place.authorization)
    with timed(server, found, "download", size):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("GET", place.large, headers=place.authorization)
        answer, came = connection.getresponse(), 0
        while data := answer.read(1 << 20):
            came += len(data)
    assert came == size, came
    return found


@contextlib.contextmanager
def timed(server: Server, found: dict, name: str, size: int) -> Iterator[None]:
    began, cpu = time.monotonic(), server.cpu()
    yield
    found[name] = (size / 1e6 / (time.monotonic() - began), (server.cpu() - cpu) / (size / 1e9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under two minutes, with files of 200 MB")
    parser.add_argument("--compare", choices=["wsgi"], help="also measure the server of before")
    for name, default in {"bodies": 500, "watchers": 500, "readers": 100, "headers": 200}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.seconds, options.siege_seconds = (5, 15) if options.quick else (10, 40)
    megabytes = 200 if options.quick else 1000
    rows: list[dict] = []
    valkey = None
    try:
        from hub.runtime.valkey import Valkey

        broker = Valkey(DATA)
        valkey = subprocess.Popen(broker.command(), stdout=subprocess.DEVNULL)
        while not broker.answers():
            time.sleep(0.1)
        place = Place(megabytes)
        print(
            f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; clients on the same machine"
        )
        measured = {}
        for name in ["front", "wsgi"] if options.compare else ["front"]:
            server = Server(name, DATA / f"{name}.log")
            try:
                measured[name] = measure(server, place, options, megabytes)
                report_siege(name, measured[name]["siege"], rows, options)
            finally:
                print(f"  stopped in {server.stop():.1f} s", flush=True)
        if options.compare:
            report_ordinary(measured["front"], measured["wsgi"], rows)
    finally:
        if valkey:
            valkey.terminate()
            valkey.wait()
        shutil.rmtree(DATA, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(server: Server, place: Place, options: argparse.Namespace, megabytes: int) -> dict:
    found: dict = {}
    if options.compare:
        for name, path in {"JSON answer": "/api/v1/methods", "page": "/"}.items():
            hammer(server, 1, get(path))
            found[name] = hammer(server, options.seconds, get(path))
        found |= transfers(server, place, megabytes)
    found["siege"] = asyncio.run(besiege(server, place, options))
    return found


def report_siege(name: str, siege: dict, rows: list[dict], options: argparse.Namespace) -> None:
    """Print a server's table, and add its row."""
    print(f"\n{name}: {len(siege['calm'])} and {len(siege['besieged'])} requests for pages, ms")
    print(f"  {'':12}{'p50':>9}{'p99':>9}{'slowest':>9}")
    for title in ("calm", "besieged"):
        times = siege[title]
        figures = (statistics.median(times), centile(times, 0.99), max(times))
        print(f"  {title:12}" + "".join(f"{1000 * figure:9.0f}" for figure in figures))
    calm, besieged = (centile(siege[title], 0.99) for title in ("calm", "besieged"))
    print(f"  ratio of p99: {besieged / calm:.1f}")
    for what, (begin, end) in siege["open"].items():
        print(f"  held at the begin and the end: {begin:4} {end:4}  {what}")
    if late := siege["late"]:
        print(f"  {len(late)} events seen after {1000 * statistics.median(late):.0f} ms (p50), ", end="")
        print(f"{1000 * centile(late, 0.99):.0f} ms (p99)")
    print(f"  the server took {siege['cpu']:.2f} cores and {siege['memory']:.0f} MB of anonymous memory", flush=True)
    case = f"p99 of pages, {options.bodies} half-sent bodies and {options.watchers} watchers, {name}"
    rows.append(row(case, "the same pages without a siege", besieged, calm, "s", calm / besieged))


def report_ordinary(ours: dict, theirs: dict, rows: list[dict]) -> None:
    """Print how the two servers do without a siege, and add the rows."""
    peer = "granian WSGI, 32 threads"
    print(f"\n  {'ordinary case':14}{'front':>12}{'wsgi':>12}{'ratio':>8}   CPU of the server: front, wsgi")
    for name, unit in {"JSON answer": "/s", "page": "/s", "upload": "MB/s", "download": "MB/s"}.items():
        (speed, cpu), (speed_before, cpu_before) = ours[name], theirs[name]
        cost = "ms a request" if unit == "/s" else "s a GB"
        print(f"  {name:14}{speed:7.0f} {unit:4}{speed_before:7.0f} {unit:4}{speed / speed_before:8.2f}", end="   ")
        print(f"{cpu:.2f}, {cpu_before:.2f} {cost}")
        rows.append(row(name, peer, speed, speed_before, unit, speed / speed_before))
        rows.append(row(f"{name}, CPU", peer, cpu, cpu_before, cost, cpu_before / cpu))
    besieged = [centile(found["siege"]["besieged"], 0.99) for found in (ours, theirs)]
    rows.append(row("p99 of pages, besieged", peer, *besieged, "s", besieged[1] / besieged[0]))


def row(case: str, peer: str, ours: float, theirs: float, unit: str, ratio: float) -> dict:
    return {"case": case, "peer": peer, "ours": ours, "theirs": theirs, "unit": unit, "ratio": ratio}


if __name__ == "__main__":
    main()
