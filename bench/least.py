"""What transfers cost without a hub: the bytes alone, a client before a server that keeps nothing, another server."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from large_files import plain

BLOCK = 1 << 20


def floor(megabytes: int, folder: Path) -> float:
    """MB/s of reading a file, hashing it and writing it elsewhere, synced."""
    source, target = plain(megabytes)(folder, 0), folder / "copy"
    began = time.perf_counter()
    digest = hashlib.sha256()
    with source.open("rb", buffering=0) as read, target.open("wb", buffering=0) as out:
        while block := read.read(BLOCK):
            digest.update(block)
            out.write(block)
        os.fsync(out.fileno())
    seconds = time.perf_counter() - began
    source.unlink()
    target.unlink()
    return megabytes / seconds


@contextlib.contextmanager
def sink() -> Iterator[int]:
    """The port of a server that answers uploads and throws the bytes away."""
    command = [sys.executable, str(Path(__file__).parent / "sink.py")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.terminate()
    process.wait()


@contextlib.contextmanager
def nginx(megabytes: int, folder: Path) -> Iterator[int]:
    """The port of an nginx that serves a file of the same size; 0 where there is none."""
    if not shutil.which("nginx"):
        yield 0
        return
    from hub.runtime.valkey import free_port

    folder, port = folder / "nginx", free_port("127.0.0.1")
    folder.mkdir(exist_ok=True)
    plain(megabytes)(folder, 0)
    server = f"server {{ listen 127.0.0.1:{port}; root {folder}; sendfile on; }}"
    user = "user root; " if os.getuid() == 0 else ""  # else its worker may not look into the folder
    text = f"{user}pid {folder}/pid; daemon off; events {{}} http {{ access_log off; {server} }}"
    (folder / "conf").write_text(text)
    process = subprocess.Popen(["nginx", "-c", str(folder / "conf"), "-e", str(folder / "log")])
    time.sleep(1.0)
    yield port
    process.terminate()
    process.wait()
