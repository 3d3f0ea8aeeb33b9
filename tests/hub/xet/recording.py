"""A Xet server on loopback that keeps what the stock client posts, and the client itself in a process of its own."""

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CLIENT = """
import json, sys, time
import hf_xet
paths, url = json.loads(sys.argv[1]), sys.argv[2]
sent = hf_xet.upload_files(paths, url, ("token", int(time.time()) + 3600), None, None, "model")
print(json.dumps([file.hash for file in sent]))
"""


@dataclass
class Recorded:
    """What was posted: xorbs by the hash they were sent under, and shards in order."""

    xorbs: dict[str, bytes] = field(default_factory=dict)
    shards: list[bytes] = field(default_factory=list)


class _Keeper(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(404, {})

    def do_POST(self) -> None:
        body, kept = self._body(), self.server.recorded
        if "/v1/xorbs/default/" in self.path:
            kept.xorbs[self.path.rpartition("/")[2]] = body
            self._answer(200, {"was_inserted": True})
        elif self.path.endswith("/v1/shards"):
            kept.shards.append(body)
            self._answer(200, {"result": 1})
        else:
            self._answer(404, {})

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: dict) -> None:
        told = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *told: object) -> None:
        pass


@contextmanager
def _serving(recorded: Recorded):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Keeper)
    server.recorded = recorded
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/xet/store"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def upload(sessions: list[list[bytes]], folder: Path) -> tuple[Recorded, list[str]]:
    """Upload files by the stock client, in one session after the other, with a home of its own in `folder`.

    Gives what it posted, and the files' hashes. A later session knows what an earlier one sent.
    """
    recorded, hashes = Recorded(), []
    with _serving(recorded) as url:
        for files in sessions:
            hashes += _session(files, folder, url)
    return recorded, hashes


def _session(files: list[bytes], folder: Path, url: str) -> list[str]:
    paths = [folder / f"{number}.bin" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, json.dumps(list(map(str, paths))), url],
        env={**os.environ, "HF_HOME": str(folder / "home"), "NO_PROXY": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return json.loads(done.stdout)
