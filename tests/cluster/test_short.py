"""The cluster in its shortest form: each kind of part is hurt once; `make test-cluster` does it at 200 points."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from tests.cluster.relay import Relay, until
from tests.soak.site import ROOT


@pytest.mark.services
def test_a_few_points_find_nothing(tmp_path):
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex(("127.0.0.1", 5432)) != 0:
            pytest.skip("no PostgreSQL on 127.0.0.1:5432")
    command = [sys.executable, "-m", "tests.cluster", "--short", "--seed", "7", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "nothing found" in done.stdout


@pytest.fixture
def echo():
    """Two servers that send back what comes, each with its own name before it; their ports."""
    servers = [_Echo(name) for name in (b"a", b"b")]
    yield [("127.0.0.1", server.port) for server in servers]
    for server in servers:
        server.close()


def test_the_relay_takes_turns_and_passes_over_a_host_that_is_down(echo):
    relay = Relay(echo)
    assert {_ask(relay.port), _ask(relay.port)} == {b"a!", b"b!"}
    relay.targets[0] = ("127.0.0.1", 1)
    assert [_ask(relay.port), _ask(relay.port)] == [b"b!", b"b!"]
    relay.close()


def test_the_relay_cuts_stalls_and_comes_back_on_its_port(echo):
    relay = Relay(echo)
    with socket.create_connection(("127.0.0.1", relay.port), 5) as open_one:
        open_one.sendall(b"!")
        assert open_one.recv(2) in (b"a!", b"b!")
        relay.cut()
        assert _is_cut(open_one)
    relay.go_away()
    with pytest.raises(OSError):
        _ask(relay.port)
    relay.come_back()
    relay.stall()
    with pytest.raises(TimeoutError):
        _ask(relay.port, seconds=0.3)
    relay.flow()
    assert until(lambda: _ask(relay.port) in (b"a!", b"b!"), 5)
    relay.close()


def _ask(port: int, seconds: float = 5) -> bytes:
    with socket.create_connection(("127.0.0.1", port), seconds) as client:
        client.settimeout(seconds)
        client.sendall(b"!")
        found = client.recv(2)
        if not found:
            raise ConnectionResetError("closed")
        return found


def _is_cut(client: socket.socket) -> bool:
    client.settimeout(5)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


class _Echo:
    def __init__(self, name: bytes) -> None:
        self.name = name
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                while data := client.recv(10):
                    client.sendall(self.name + data)
            except OSError:
                return

    def close(self) -> None:
        self.server.close()
