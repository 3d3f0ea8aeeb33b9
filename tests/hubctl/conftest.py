"""The client against a served hub: real HTTP, a real worker in a thread, and a wire that can be cut."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hub import broker, progress
from hubctl import cli, transport
from tests.hub import factories
from tests.hub.conftest import no_earlier_tries  # noqa: F401
from tests.workers.thread import working

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch) -> Path:
    """Config and cache of the client in a folder of this test; no sign-in from outside."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HUBCTL_URL", "HUBCTL_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(transport, "PAUSE", 0.0)
    return tmp_path


@pytest.fixture
def hubctl(capsys):
    """`hubctl("push", …)` → code, out, err; `.json` is stdout parsed."""

    def run(*arguments: str) -> SimpleNamespace:
        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(
            code=code, out=out, err=err, json=json.loads(out) if "--json" in arguments and out else None
        )

    return run


@pytest.fixture
def served(live_server, settings, tmp_path, monkeypatch) -> str:
    """The address of a hub with an empty store and no broker, as the client's default."""
    settings.STORAGES = {
        **settings.STORAGES,
        "blobs": {**settings.STORAGES["blobs"], "OPTIONS": {"location": str(tmp_path / "blobs")}},
    }
    settings.UPLOAD_FOLDER = tmp_path / "uploads"
    settings.REDIS_URL = NOBODY
    broker.producer.cache_clear()
    broker.client.cache_clear()
    progress._away_until = 0.0
    monkeypatch.setenv("HUBCTL_URL", live_server.url)
    return live_server.url


@pytest.fixture
def ada(served):
    """A user of the hub."""
    return factories.make_user("ada")


@pytest.fixture
def signed_in(ada, hubctl, served):
    """`ada`, signed in by `hubctl login` with a token."""
    assert hubctl("login", served, "--token", make_token(ada)).code == 0
    return ada


def make_token(user, scopes=("read", "write", "admin")) -> str:
    """A token of `user`."""
    from hub.services.tokens import create_token

    return create_token(actor=user, name="test", scopes=list(scopes), expires_in_days=1)[1]


@pytest.fixture
def base(served):
    """The pico base."""
    return factories.make_base()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def adapter(tmp_path) -> Path:
    """A valid pico adapter's folder."""
    return write(tmp_path / "adapter", factories.adapter_files(rank=4, seed=1))


@pytest.fixture
def worker(served, settings, tmp_path) -> Iterator[None]:
    """A worker in a thread that runs what is queued."""
    settings.WORKER_CACHE, settings.WORKER_BASES = tmp_path / "worker", str(tmp_path / "bases")
    settings.WORKER_THREADS = 1
    with working():
        yield


class Wire:
    """A TCP relay to the hub that breaks the connection once `up` bytes went up or `down` bytes came down on it.

    `cuts` is how many connections break so; `sent` and `received` count all bytes that passed.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self.target = (host, int(port))
        self.up = self.down = None
        self.cuts = self.sent = self.received = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            hub = socket.create_connection(self.target)
            for source, sink, name in ((client, hub, "up"), (hub, client, "down")):
                threading.Thread(target=self._relay, args=(source, sink, name), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, name: str) -> None:
        passed = 0
        try:
            while data := source.recv(4096):
                limit = getattr(self, name)
                if limit is not None and self.cuts > 0 and passed + len(data) > limit:
                    data = data[: limit - passed]
                    self.cuts -= 1
                    sink.sendall(data)
                    self._count(name, len(data))
                    time.sleep(0)
                    break
                sink.sendall(data)
                passed += len(data)
                self._count(name, len(data))
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _count(self, name: str, count: int) -> None:
        if name == "up":
            self.sent += count
        else:
            self.received += count


@pytest.fixture
def wire(served) -> Iterator[Wire]:
    """A wire to the hub."""
    made = Wire(served)
    yield made
    made.listener.close()
