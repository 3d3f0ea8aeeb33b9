"""`make up`: everything starts, comes back when it dies, and is gone after Ctrl-C; nothing is lost."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubctl.client import Hub

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse battery"


def children(pid: int) -> dict[int, str]:
    """pid → command line of all descendants of a process."""
    listed = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [(int(a), int(b), rest) for a, b, rest in (line.split(None, 2) for line in listed.splitlines())]
    found, known = {}, {pid}
    for _ in rows:
        new = {a: rest for a, b, rest in rows if b in known and a not in known}
        if not new:
            break
        found |= new
        known |= set(new)
    return found


def until(true, seconds: float = 90.0):
    """Wait for a condition; its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := true():
            return value
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """The environment of a laptop: no server is named, and the data folder is empty."""
    named = ("REDIS_URL", "DATABASE_URL", "STORAGE_URL", "DJANGO_SETTINGS_MODULE", "HUB_SECRET_KEY")
    inherited = {name: value for name, value in os.environ.items() if name not in named}
    return {**inherited, "HUB_DATA": str(tmp_path / "data"), "HUB_WORKER_THREADS": "1"}


@pytest.fixture
def up(environment, tmp_path):
    """A hub started by the command, stopped hard at the end if it still runs."""
    log = (tmp_path / "up.log").open("w")
    command = [sys.executable, str(ROOT / "manage.py"), "up", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    yield process
    for pid in [process.pid, *children(process.pid)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def address(environment: dict[str, str]) -> str | None:
    try:
        return json.loads((Path(environment["HUB_DATA"]) / "up.lock").read_text()).get("url")
    except (OSError, ValueError):
        return None


@pytest.mark.slow
def test_a_laptop_s_hub_lives_through_kills_and_stops_clean(up, environment, tmp_path):
    url = until(lambda: address(environment) or up.poll())
    assert isinstance(url, str), (tmp_path / "up.log").read_text()
    make = [sys.executable, str(ROOT / "manage.py"), "create_user", "ada", "--password-stdin"]
    subprocess.run(make, input=PASSWORD, text=True, env=environment, check=True, capture_output=True)
    hub = Hub(url)
    hub.sign_in("ada", PASSWORD)
    config = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    config |= {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 64}

    for part in ("valkey-server", "celery"):
        pid = until(lambda part=part: next((p for p, command in children(up.pid).items() if part in command), None))
        os.kill(pid, signal.SIGKILL)
        until(lambda part=part, pid=pid: any(part in c for p, c in children(up.pid).items() if p != pid))
    added = hub.add_base("pico/llama", config)
    assert hub.wait(added["job"])["state"] == "done"

    second = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "up", "--port", "0"], env=environment, capture_output=True, text=True
    )
    assert second.returncode == 1
    assert url in second.stderr

    running = children(up.pid)
    os.kill(up.pid, signal.SIGINT)
    assert up.wait(timeout=60) == 0
    assert not [pid for pid in running if Path(f"/proc/{pid}").exists()]
    assert not (Path(environment["HUB_DATA"]) / "valkey" / "url").exists()
    log = (tmp_path / "up.log").read_text()
    assert "stopped (killed by SIGKILL, often for want of memory); starting it again" in log
    assert "Traceback" not in log


def test_a_taken_port_is_one_sentence(environment):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        command = [sys.executable, str(ROOT / "manage.py"), "up", "--port", port]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr
    assert "Traceback" not in done.stderr
