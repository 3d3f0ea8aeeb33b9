"""A hub whose blobs are in S3, beside raw boto3 on the same store: how fast a file goes up and comes down.

    python bench/store.py [--quick] [--json FILE]

Starts an S3 server (moto, which keeps objects in memory) and a hub's
web server on it. Push: `hubctl push` of a new adapter to its commit, beside boto3's `upload_file` of as many bytes and
their SHA-256. Pull: `hubctl pull`, and a plain GET, beside boto3's `download_file`. All in processes of their own, in
turns, the median of the rounds; wall time, and CPU seconds of client, hub and store together, which say more where
neighbours are busy. Then the hub's anonymous memory while files of two sizes, and eight ranges at once, come down.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
RAW = """
import boto3, hashlib, os, time
client, path = boto3.client("s3", endpoint_url=os.environ["STORAGE_ENDPOINT"]), "{path}"
began, cpu = time.perf_counter(), time.process_time()
if "{verb}" == "up":
    with open(path, "rb") as file:
        hashlib.file_digest(file, "sha256")
    client.upload_file(path, "raw", "{key}")
else:
    client.download_file("raw", "{key}", path)
    with open(path, "rb") as file:
        hashlib.file_digest(file, "sha256")
print(time.process_time() - cpu, time.perf_counter() - began)
"""
HUBCTL = """
import time
from hubctl import cli
began, cpu = time.perf_counter(), time.process_time()
code = cli.run({command})
print(time.process_time() - cpu, time.perf_counter() - began)
raise SystemExit(code)
"""
GET = """
import http.client, time
began, cpu = time.perf_counter(), time.process_time()
one = http.client.HTTPConnection("127.0.0.1", {port})
one.request("GET", "{address}", headers={headers})
answer, buffer, came = one.getresponse(), bytearray(1 << 20), 0
while size := answer.readinto(buffer):
    came += size
assert came == {length}, (came, answer.status)
print(time.process_time() - cpu, time.perf_counter() - began)
"""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="64 MB, twice, in place of 320 MB three times")
    options.add_argument("--json", type=Path, help="write the rows there")
    chosen = options.parse_args()
    with s3() as store:
        rows = measure(store, *((64, 2) if chosen.quick else (320, 3)))
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    from transfer_rate import table

    table(rows)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


@contextlib.contextmanager
def s3() -> Iterator[subprocess.Popen]:
    """An S3 server with the buckets `hub` and `raw`; the environment names it."""
    from hub.runtime.valkey import free_port

    port = free_port("127.0.0.1")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ |= {**KEYS, "STORAGE_URL": "s3://hub", "STORAGE_ENDPOINT": f"http://127.0.0.1:{port}"}
    try:
        import boto3

        client = boto3.client("s3", endpoint_url=os.environ["STORAGE_ENDPOINT"])
        client.meta.config.retries = {"max_attempts": 1}
        for bucket in ("hub", "raw"):
            for _ in range(100):
                with contextlib.suppress(Exception):
                    client.create_bucket(Bucket=bucket)
                    break
                time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait()


def measure(store: subprocess.Popen, megabytes: int, rounds: int) -> list[dict]:
    """Every row; files are of so many megabytes."""
    import transfer_rate as rate

    os.environ["HUBCTL_TOKEN"] = rate.prepare(megabytes)
    server = rate.Server("front", rate.DATA / "server.log")
    os.environ["HUBCTL_URL"] = f"http://127.0.0.1:{server.port}"
    bench = Bench(server, store, rate)
    try:
        rows = bench.transfers(megabytes, rounds)
        return rows + bench.memory(megabytes)
    finally:
        server.stop()
        rate.shutil.rmtree(rate.DATA, ignore_errors=True)


class Bench:
    """The hub's server and its store, and the clients that are measured before them."""

    def __init__(self, server, store: subprocess.Popen, rate) -> None:
        self.server, self.store, self.rate = server, store, rate
        self.folder = Path(tempfile.mkdtemp(dir=rate.DATA))

    def cpu(self) -> tuple[float, float]:
        """CPU seconds of hub and of store so far."""
        fields = Path(f"/proc/{self.store.pid}/stat").read_text().rpartition(")")[2].split()
        return self.server.cpu(), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, program: str) -> tuple[float, float, float, float]:
        """Wall seconds, and CPU seconds of client, hub and store, of a client in a process of its own."""
        hub, store = self.cpu()
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{done.stdout[-500:]}{done.stderr[-1500:]}")
        own, wall = map(float, done.stdout.split()[-2:])
        after = self.cpu()
        return wall, own, after[0] - hub, after[1] - store

    def transfers(self, megabytes: int, rounds: int) -> list[dict]:
        """Rows of push, pull and GET beside boto3, in turns."""
        found: dict[str, list[tuple[float, ...]]] = {}

        def note(name: str, program: str) -> None:
            found.setdefault(name, []).append(self.run(program))

        for number in range(rounds):
            made = self.folder / f"push-{number}"
            made.mkdir()
            self.rate.adapter(megabytes)(made, number)
            weights = made / "adapter_model.safetensors"
            length, repo, got = weights.stat().st_size, f"ada/push-{number}", self.folder / f"got-{number}"
            note("push", HUBCTL.format(command=["push", str(made), repo]))
            note("push raw", RAW.format(verb="up", path=weights, key=number))
            address = f"/api/v1/repositories/{repo}/files/main/adapter_model.safetensors"
            headers = {"Authorization": f"Bearer {os.environ['HUBCTL_TOKEN']}"}
            plain = GET.format(port=self.server.port, address=address, headers=headers, length=length)
            note("pull", HUBCTL.format(command=["pull", repo, "-o", str(got)]))
            note("GET", plain)
            note("pull raw", RAW.format(verb="down", path=self.folder / "raw", key=number))
            self.large = address, headers, length
        best = {name: [statistics.median(column) for column in zip(*each, strict=True)] for name, each in found.items()}
        for name, (wall, *cpu) in best.items():
            each = ", ".join(f"{who} {used:.2f}" for who, used in zip(("client", "hub", "store"), cpu, strict=True))
            print(f"{name}: {wall:.2f} s; CPU seconds of {each}", flush=True)
        rows = []
        for ours, theirs in (("push", "push raw"), ("pull", "pull raw"), ("GET", "pull raw")):
            case, peer = f"{ours} of {megabytes} MB", "boto3 and SHA-256"
            wall, other = (megabytes / best[name][0] for name in (ours, theirs))
            rows.append(self.rate.row(case, peer, wall, other, "MB/s"))
            mine, his = (1000 * sum(best[name][1:]) / megabytes for name in (ours, theirs))
            rows.append(self.rate.row(f"{case}, client + hub + store", peer, mine, his, "CPU s/GB", less=True))
        return rows

    def memory(self, megabytes: int) -> list[dict]:
        """Rows of the hub's peak of anonymous memory: one whole file, and eight ranges at once, beside none."""
        address, headers, length = self.large
        still = self.server.anonymous_megabytes()

        def ask(start: int, stop: int) -> str:
            named = headers | {"Range": f"bytes={start}-{stop - 1}"}
            return GET.format(port=self.server.port, address=address, headers=named, length=stop - start)

        eight = [ask(part * (length // 8), part * (length // 8) + length // 8) for part in range(8)]
        asked: dict[str, list[str]] = {
            f"GET of {megabytes} MB": [ask(0, length)],
            f"GET of {megabytes // 8} MB": [ask(0, length // 8)],
            f"8 ranges of {megabytes // 8} MB": eight,
        }
        return [self._memory(case, programs, still) for case, programs in asked.items()]

    def _memory(self, case: str, programs: list[str], still: float) -> dict:
        with self.rate.watched(self.server) as peak:
            clients = [subprocess.Popen([sys.executable, "-c", one], stdout=subprocess.DEVNULL) for one in programs]
            if any(client.wait() for client in clients):
                raise SystemExit(f"{case} failed")
        return self.rate.row(f"hub's memory, {case}", "the hub at rest", peak[0], still, "MiB", less=True)


if __name__ == "__main__":
    main()
