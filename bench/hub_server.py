"""A hub's web server for benchmarks, as a process whose CPU and memory are read from /proc."""

import contextlib
import http.client
import os
import subprocess
import sys
import time
from pathlib import Path


class Server:
    """A web server over the data folder; `cpu()` is what its processes have used so far, in seconds."""

    def __init__(self, name: str, log: Path) -> None:
        from hub.runtime.site import web_command
        from hub.runtime.valkey import free_port

        self.name, self.port = name, free_port("127.0.0.1")
        wsgi = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(self.port), "--no-ws"]
        wsgi += ["--blocking-threads", "32", "hub.wsgi:application"]
        command = web_command("127.0.0.1", self.port) if name == "front" else [sys.executable, "-m", "granian", *wsgi]
        self.process = subprocess.Popen(
            command, stdout=log.open("ab"), stderr=subprocess.STDOUT, start_new_session=True
        )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.ask("GET", "/api/v1/methods", {})
                return
            time.sleep(0.2)
        raise SystemExit(f"The server did not start; its log is {log}")

    def ask(self, method: str, path: str, headers: dict, body: object = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        if answer.status >= 400:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:300]!r}")
        return content

    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def cpu(self) -> float:
        ticks = 0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def anonymous_megabytes(self) -> float:
        lines = [line for pid in self.pids() for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024

    def stop(self) -> float:
        """Stop it; the seconds it took."""
        began = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
        return time.monotonic() - began


def centile(times: list[float], part: float) -> float:
    return sorted(times)[min(len(times) - 1, int(part * len(times)))]
