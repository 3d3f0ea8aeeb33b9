"""How fast files go up and down, beside what the same bytes cost without a hub: SHA-256 and a copy that is synced.

    python bench/transfer_rate.py [--quick] [--json FILE]

Starts a hub's web server (the command of `make up`) over a fresh data folder. Uploads: huggingface_hub by Xet, by LFS
and inside commits, `hubctl push`; each in a process of its own with a fresh cache, timed without its start. Beside them
what the same client sends to a server that keeps nothing (`sink.py`): no hub can make it faster. Downloads
by 1 and 8 clients over plain HTTP. Then 32 clients that ask for pages of the API, and the server's memory while a small
and a large file go up. Where nginx is installed, it serves the same file. All clients run on the server's machine.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DATA = Path(tempfile.mkdtemp(prefix="transfer-rate-"))
os.environ.pop("REDIS_URL", None)
os.environ |= {"HUB_DATA": str(DATA / "hub"), "DJANGO_SETTINGS_MODULE": "hub.settings", "OMP_NUM_THREADS": "1"}

from hub_server import Server, centile  # noqa: E402
from large_files import BASE, CONFIG, MB, WIDTH, adapter, plain, shapes, small  # noqa: E402
from least import floor, nginx, sink  # noqa: E402

BLOCK = 1 << 20
HF = """
import os, time, huggingface_hub as hh
api = hh.HfApi(endpoint=os.environ["HF_ENDPOINT"], token=os.environ["HUBCTL_TOKEN"])
api.create_repo("{repo}")
began = time.perf_counter()
api.upload_folder(repo_id="{repo}", folder_path="{folder}")
print(time.perf_counter() - began)
"""
HUBCTL = """
import time
from hubctl import cli
began = time.perf_counter()
code = cli.run(["push", "{folder}", "{repo}"])
print(time.perf_counter() - began)
raise SystemExit(code)
"""
API = ("/api/models", "/api/models/ada/{0}", "/api/models/ada/{0}/tree/main", "/api/models/ada/{0}/refs", "/ada/{0}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="100 MB once, in place of 500 MB three times")
    options.add_argument("--json", type=Path, help="write the rows there")
    chosen = options.parse_args()
    try:
        rows = measure(100 if chosen.quick else 500, 1 if chosen.quick else 3)
    finally:
        shutil.rmtree(DATA, ignore_errors=True)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    table(rows)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(megabytes: int, rounds: int) -> list[dict]:
    """Every row; files are of so many megabytes."""
    secret = prepare(megabytes)
    server = Server("front", DATA / "server.log")
    try:
        clients = Clients(server, secret)
        rows = uploads(clients, megabytes, rounds)
        rows += downloads(server, clients.large, megabytes, rounds)
        rows += memory(clients, megabytes)
        rows += reads(server, clients.large.split("/")[1], 3.0 if rounds == 1 else 10.0)
    finally:
        server.stop()
    return rows


def prepare(megabytes: int) -> str:
    """A hub with a user and a base that the adapter of this size fits; the user's token."""
    import django

    (DATA / "hub").mkdir()
    django.setup()
    from django.core.management import call_command

    from hub.models import BaseModel
    from hub.services import accounts, known_bases, tokens
    from hub.services.starting.static_files import collect_static

    call_command("migrate", interactive=False, verbosity=0)
    collect_static()
    user = accounts.create_user(username="ada", email="ada@example.org", password="correct horse battery")
    fits = shapes(megabytes)
    base = BaseModel.objects.create(name=BASE, config=CONFIG)
    digest = hashlib.sha256(json.dumps(fits, sort_keys=True).encode()).hexdigest()
    known_bases.set_shapes(base=base, shapes=fits, fingerprint=digest, parameters=len(fits) * WIDTH**2)
    return tokens.create_token(actor=user, name="bench", scopes=("read", "write", "admin"))[1]


class Clients:
    """Clients in processes of their own; each push goes to a new repository with bytes that nobody has sent."""

    def __init__(self, server: Server, secret: str) -> None:
        self.server, self.secret, self.count, self.large = server, secret, 0, ""

    def push(self, program: str, write: Callable[[Path, int], object], *, port: int = 0, **environment: str) -> float:
        """Seconds of a push of what `write` makes, to the hub or to another server's port."""
        self.count += 1
        folder, repo = DATA / f"push-{self.count}", f"ada/push-{self.count}"
        folder.mkdir()
        write(folder, self.count)
        url = f"http://127.0.0.1:{port or self.server.port}"
        known = {"HF_ENDPOINT": url, "HUBCTL_URL": url, "HUBCTL_TOKEN": self.secret, "HF_HOME": f"{folder}-home"}
        quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", program.format(repo=repo, folder=folder)]
        done = subprocess.run(command, env=os.environ | known | quiet | environment, capture_output=True, text=True)
        shutil.rmtree(f"{folder}-home", ignore_errors=True)
        shutil.rmtree(folder)
        if done.returncode:
            raise SystemExit(f"{repo}: {done.stdout[-500:]}{done.stderr[-1500:]}")
        return float(done.stdout.split()[-1])


WAYS = {
    "upload by Xet": (HF, plain, {}),
    "upload by LFS": (HF, plain, {"HF_HUB_DISABLE_XET": "1"}),
    "upload inside commits": (HF, small, {}),
    "upload by hubctl": (HUBCTL, adapter, {}),
}


def uploads(clients: Clients, megabytes: int, rounds: int) -> list[dict]:
    """Rows of every way up, each round beside a floor of its own and the same client before the sink."""
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in WAYS}
    with sink() as port:
        for _ in range(rounds):
            for name, (program, write, environment) in WAYS.items():
                least, cpu = floor(megabytes, DATA), clients.server.cpu()
                seconds = clients.push(program, write(megabytes), **environment)
                cpu = (clients.server.cpu() - cpu) * 1000 / megabytes
                if write is plain and not clients.large:
                    clients.large = f"ada/push-{clients.count}/resolve/main/large.safetensors"
                alone = 0.0
                if write is not small:
                    alone = megabytes / clients.push(program, write(megabytes), port=port, **environment)
                found[name].append((megabytes / seconds, least, alone, cpu))
    rows = []
    for name, figures in found.items():
        ours, least, alone, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        rows.append(row(name, "sha256 + copy, synced", ours, least, "MB/s"))
        if alone:
            rows.append(row(name, "the client before a sink", ours, alone, "MB/s"))
            rows.append(row(f"{name}, the client before a sink", "sha256 + copy, synced", alone, least, "MB/s"))
        print(
            f"{name}: {ours:.0f} MB/s, floor {least:.0f}, sink {alone:.0f}, server {cpu:.2f} CPU seconds a GB",
            flush=True,
        )
    return rows


def downloads(server: Server, path: str, megabytes: int, rounds: int) -> list[dict]:
    """Rows of 1 and 8 clients that fetch the same file at once."""
    rows = []
    for clients in (1, 8):
        rates = [fetch(server.port, f"/{path}", clients, megabytes) for _ in range(rounds)]
        rows.append(
            row(f"download, {clients} at once", "sha256 + copy, synced", max(rates), floor(megabytes, DATA), "MB/s")
        )
        with nginx(megabytes, DATA) as port:
            if port:
                theirs = max(fetch(port, "/large.safetensors", clients, megabytes) for _ in range(rounds))
                rows.append(row(f"download, {clients} at once", "nginx", max(rates), theirs, "MB/s"))
    return rows


def fetch(port: int, path: str, clients: int, megabytes: int) -> float:
    """MB/s of all clients together."""
    code = f"""
import http.client, sys
one = http.client.HTTPConnection("127.0.0.1", {port})
one.request("GET", "{path}")
answer, buffer, came = one.getresponse(), bytearray({BLOCK}), 0
while size := answer.readinto(buffer):
    came += size
sys.exit(came < {megabytes * MB})
"""
    began = time.perf_counter()
    under_way = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(clients)]
    if any(process.wait() for process in under_way):
        raise SystemExit(f"A download of {path} failed.")
    return clients * megabytes / (time.perf_counter() - began)


def memory(clients: Clients, megabytes: int) -> list[dict]:
    """Rows of the server's peak of anonymous memory: a large file beside one of a quarter."""
    rows = []
    for name in ("upload by Xet", "upload by LFS"):
        program, write, environment = WAYS[name]
        peaks = []
        for size in (megabytes // 4, megabytes):
            with watched(clients.server) as peak:
                clients.push(program, write(size), **environment)
            peaks.append(peak[0])
        few = f"a file of {megabytes // 4} MB"
        rows.append(row(f"server memory, {name}, {megabytes} MB", few, peaks[1], peaks[0], "MiB", less=True))
    return rows


@contextlib.contextmanager
def watched(server: Server) -> Iterator[list[float]]:
    """[the peak of the server's anonymous memory meanwhile], in MiB."""
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            peak[0] = max(peak[0], server.anonymous_megabytes())

    thread = threading.Thread(target=watch)
    thread.start()
    yield peak
    stop.set()
    thread.join()


def reads(server: Server, name: str, seconds: float) -> list[dict]:
    """Rows of 32 clients that ask the API: the longest waits beside the median, and errors, of which there are none."""
    times, errors = asyncio.run(ask_all(server.port, [path.format(name) for path in API], seconds))
    p50, p99 = centile(times, 0.5) * 1000, centile(times, 0.99) * 1000
    print(f"32 clients: {len(times) / seconds:.0f} reads a second, p50 {p50:.0f} ms, p99 {p99:.0f} ms, {errors} errors")
    rows = [("p99", "their median", p99, p50, "ms"), ("errors", "none", float(errors), 0.0, "errors")]
    return [row(f"API reads by 32 clients, {what}", *figures, less=True) for what, *figures in rows]


async def ask_all(port: int, paths: list[str], seconds: float) -> tuple[list[float], int]:
    """Seconds of each answer, and how many were none."""
    times: list[float] = []
    errors, until = 0, time.monotonic() + seconds

    async def one(number: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=BLOCK)
        while time.monotonic() < until:
            began, number = time.monotonic(), number + 1
            writer.write(f"GET {paths[number % len(paths)]} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            errors += b" 200 " not in head[:20]
            times.append(time.monotonic() - began)
        writer.close()

    await asyncio.gather(*(one(number) for number in range(32)))
    return times, errors


def row(case: str, peer: str, ours: float, theirs: float, unit: str, *, less: bool = False) -> dict:
    ratio = 1.0 if ours == theirs else (theirs / ours if less else ours / theirs) if ours and theirs else 0.0
    figures = {"ours": round(ours, 1), "theirs": round(theirs, 1), "unit": unit, "ratio": round(ratio, 2)}
    return {"case": case, "peer": peer, **figures}


def table(rows: list[dict]) -> None:
    print("| case | ours | theirs | ratio | peer |\n|---|---|---|---|---|")
    for one in rows:
        print("| {case} | {ours:.4g} {unit} | {theirs:.4g} {unit} | {ratio:g}× | {peer} |".format(**one))


if __name__ == "__main__":
    main()
