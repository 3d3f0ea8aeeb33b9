"""`make up` watches over its processes: who dies again and again waits longer each time, and takes nobody along."""

import os
import shutil
import signal
import sys
import threading
import time

import pytest

from hub.runtime import processes, site
from hub.runtime.processes import Child
from hub.runtime.site import Runtime
from hub.runtime.valkey import FILES, Valkey

LIVES = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
DIES = ["sh", "-c", "echo it is out of paper; exit 3"]


@pytest.fixture
def runtime(settings, tmp_path, monkeypatch):
    """A runtime with children of the test's own, and what it said."""
    settings.HUB_DATA = tmp_path
    monkeypatch.setattr(processes, "FIRST_DELAY", 0.01)
    said: list[str] = []
    runtime = Runtime(host="127.0.0.1", port=0, say=said.append)
    runtime.said = said

    def add(name: str, command: list[str]) -> Child:
        child = Child(name, command, log=tmp_path / f"{name}.log", environment=os.environ, folder=tmp_path)
        runtime.children.append(child)
        child.start()
        return child

    runtime.add = add
    yield runtime
    runtime.stop()


def watch_until(runtime: Runtime, true, seconds: float = 60.0) -> float:
    """Watch until `true()`, then send SIGTERM as an operator does; the seconds that the stop took."""
    asked = []

    def ask() -> None:
        end = time.monotonic() + seconds
        while not true() and time.monotonic() < end:
            time.sleep(0.02)
        asked.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    runtime.watch()
    thread.join()
    return time.monotonic() - asked[0]


def test_one_that_keeps_dying_takes_nobody_along(runtime, monkeypatch):
    web, worker = runtime.add("web", LIVES), runtime.add("worker", DIES)
    serving = web.process.pid
    watch_until(runtime, lambda: worker.deaths >= 6)
    assert worker.deaths >= 6
    assert web.alive() and web.process.pid == serving and web.deaths == 0
    told = "\n".join(runtime.said)
    assert "worker stopped 3 times in a row (exit 3)" in told
    assert str(worker.log) in told
    assert told.count("it is out of paper") >= 3, "from the third death on, the end of the log is shown"


def test_sigterm_does_not_wait_for_a_delay(runtime, monkeypatch):
    monkeypatch.setattr(processes, "FIRST_DELAY", 600.0)
    monkeypatch.setattr(processes, "LONGEST_DELAY", 600.0)
    worker = runtime.add("worker", DIES)
    assert watch_until(runtime, lambda: worker.start_at is not None) < 30
    assert not worker.alive()


def test_the_delay_grows_to_a_limit_and_begins_anew_after_a_healthy_time(tmp_path):
    child = Child("worker", LIVES, log=tmp_path / "log", environment=os.environ, folder=tmp_path)
    child.start()
    child.stop(grace=0)
    assert [child.died() for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    child._started -= processes.HEALTHY_SECONDS + 1
    assert child.died() == 0.5
    assert "SIGTERM" in child.ending() or "SIGKILL" in child.ending()


def test_a_program_that_is_gone_is_said_and_tried_again(runtime):
    worker = runtime.add("worker", ["sh", "-c", "exit 1"])
    worker.command = ["/nowhere/at/all"]
    watch_until(runtime, lambda: worker.deaths >= 3)
    assert any("can't be started" in line for line in runtime.said)


def test_a_full_disk_is_said_once(runtime, monkeypatch):
    monkeypatch.setattr(site, "LITTLE_DISK", 1 << 62)
    monkeypatch.setattr(site, "SECONDS_A_LOOK_AT_THE_DISK", 0.0)
    runtime.add("web", LIVES)
    looked, usage = [], shutil.disk_usage
    monkeypatch.setattr(site.shutil, "disk_usage", lambda path: looked.append(path) or usage(path))
    watch_until(runtime, lambda: len(looked) > 3)
    assert len([line for line in runtime.said if "nearly full" in line]) == 1


def garbage(path):
    half = len(path.read_bytes()) // 2
    path.write_bytes(path.read_bytes()[:half] + b"\0garbage\r\n" * 20)


@pytest.mark.parametrize("part", ["incr", "base", "manifest"])
@pytest.mark.parametrize("damage", [garbage, os.unlink], ids=["garbage", "gone"])
def test_a_broker_with_damaged_files_starts_all_the_same(runtime, tmp_path, part, damage):
    valkey = runtime.valkey = Valkey(tmp_path)
    runtime.logs = tmp_path
    runtime._run(Child("valkey", valkey.command(), **runtime._place("valkey", os.environ), ready=valkey.answers))
    runtime.children.pop().stop()
    (path,) = (tmp_path / "valkey" / FILES).glob(f"*{part}*")
    damage(path)
    runtime._run(Child("valkey", valkey.command(), **runtime._place("valkey", os.environ), ready=valkey.answers))
    assert valkey.answers()
    if (part, damage) != ("manifest", os.unlink):
        assert any("damaged" in line and str(tmp_path) in line for line in runtime.said)
        assert (tmp_path / "valkey" / f"{FILES}.damaged").is_dir()


def test_a_broker_on_a_full_disk_says_so(tmp_path):
    valkey = Valkey(tmp_path)
    said = "Error writing to the AOF file: No space left on device"
    assert "disk is full" in valkey.trouble(said)
    assert not valkey.set_aside_damaged(said + " reading the append only file")
