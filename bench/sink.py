"""A hub that keeps nothing: it answers uploads as a hub does and throws the bytes away. What a client alone can send.

    python bench/sink.py [PORT]

The least that huggingface_hub (Xet, LFS) and `hubctl push` need to be told; nothing is checked. One thread a connection
reads into a buffer of its own, which is the cheapest way to take bytes in.
"""

import json
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil

BLOCK, PART = 1 << 20, 64_000_000
OID = "0" * 40


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    rbufsize = BLOCK

    def setup(self) -> None:
        super().setup()
        self.buffer = memoryview(bytearray(BLOCK))

    def do_GET(self) -> None:
        """Where chunks go, what there is of a repository, and 404 for all else."""
        if "xet-write-token" in self.path:
            at = f"http://{self.headers['Host']}/xet"
            self._answer(200, {"casUrl": at, "exp": int(time.time()) + 900, "accessToken": "none"})
        elif self.path.startswith("/api/models/"):
            self._answer(200, {"id": "ada/sink", "sha": OID, "siblings": []})
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        """Begin an upload, send a xorb, end an upload."""
        kept = self._body(keep="xorbs" not in self.path)
        self._answer(*self._said(self.path.partition("?")[0], kept))

    def do_PUT(self) -> None:
        """Bytes of a file."""
        at = int(self.headers.get("Upload-Offset", 0))
        self._body(keep=False)
        self._answer(200, {"received": at + int(self.headers["Content-Length"])})

    def _said(self, path: str, body: bytes) -> tuple[int, dict]:
        here = f"http://{self.headers['Host']}"
        if path.endswith("/preupload/main"):
            files = [{"path": one["path"], "uploadMode": "lfs", "shouldIgnore": False} for one in _read(body)["files"]]
            return 200, {"files": files}
        if path.endswith("/objects/batch"):
            objects = [one | {"actions": {"upload": _lfs(here, one["size"])}} for one in _read(body)["objects"]]
            return 200, {"transfer": "multipart", "objects": objects}
        if path.endswith("/uploads"):
            files = [one | {"received": 0} for one in _read(body)["files"]]
            return 201, {"id": OID, "repository": "ada/sink", "files": files}
        if "grants" in path:
            return 404, {}
        done = {"revision": OID, "version": "v1", "created": True, "commitOid": OID, "was_inserted": True}
        done |= {"type": "result", "result": 1}
        return 200, done | {"url": f"{here}/ada/sink", "commitUrl": f"{here}/ada/sink/commit/{OID}", "errors": []}

    def _body(self, *, keep: bool) -> bytes:
        kept, left = [], int(self.headers.get("Content-Length", 0))
        for size in self._sizes() if "Transfer-Encoding" in self.headers else [left]:
            while size:
                came = self.rfile.readinto(self.buffer[: min(size, BLOCK)])
                if not came:
                    raise ConnectionError("the client hung up")
                size -= came
                if keep:
                    kept.append(bytes(self.buffer[:came]))
        return b"".join(kept)

    def _sizes(self) -> Iterator[int]:
        while size := int(self.rfile.readline(), 16):
            yield size
            self.rfile.readline()
        self.rfile.readline()

    def _answer(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", '"none"')
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


def _read(body: bytes) -> dict:
    return json.loads(body)


def _lfs(here: str, size: int) -> dict:
    if size <= PART:
        return {"href": f"{here}/lfs/0"}
    parts = {str(number): f"{here}/lfs/{number}" for number in range(1, ceil(size / PART) + 1)}
    return {"href": f"{here}/lfs/0", "header": {"chunk_size": str(PART), **parts}}


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if sys.argv[1:] else 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
