"""One worker a GPU by one command: which ones there are, what each sees, and that they are kept running."""

import os
import signal
import subprocess
import sys
import time

import pytest

from hub.runtime import gpus
from hub.runtime.gpus import places
from hub.services.starting import CannotStart


@pytest.fixture(autouse=True)
def no_setting(settings):
    settings.WORKER_GPUS = []


def smi(monkeypatch, said: str, code: int = 0) -> None:
    monkeypatch.setattr(gpus, "NVIDIA_SMI", [sys.executable, "-c", f"print({said!r}); raise SystemExit({code})"])


def test_each_gpu_gets_a_worker_that_sees_it_alone(monkeypatch):
    smi(monkeypatch, "0\n1\n2")
    found = places("night", {"PATH": "/bin"})
    assert found == {f"night-gpu{n}": {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": str(n)} for n in range(3)}


def test_what_the_environment_shows_is_all_there_is(monkeypatch):
    smi(monkeypatch, "0\n1\n2")
    shown = {"CUDA_VISIBLE_DEVICES": "GPU-aa, GPU-bb"}
    assert [one["CUDA_VISIBLE_DEVICES"] for one in places("w", shown).values()] == ["GPU-aa", "GPU-bb"]


def test_the_setting_comes_first(monkeypatch, settings):
    smi(monkeypatch, "0\n1\n2")
    settings.WORKER_GPUS = ["3", "5"]
    found = places("w", {"CUDA_VISIBLE_DEVICES": "0"})
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found.values()] == ["3", "5"]


@pytest.mark.parametrize("said", ["none there", "no such program", "hidden"])
def test_a_machine_without_gpus_says_so(monkeypatch, said):
    smi(monkeypatch, "No devices were found", 6)
    if said == "no such program":
        monkeypatch.setattr(gpus, "NVIDIA_SMI", ["no-such-program-here"])
    with pytest.raises(CannotStart, match="HUB_GPUS"):
        places("w", {"CUDA_VISIBLE_DEVICES": "-1"} if said == "hidden" else {})


def test_a_gpu_named_twice_is_refused(settings):
    settings.WORKER_GPUS = ["0", "0"]
    with pytest.raises(CannotStart, match="twice"):
        places("w", {})


def test_they_run_until_a_signal_and_one_that_dies_comes_back(tmp_path):
    """In a process of its own, as signals are for a main thread."""
    script = """
import sys, pathlib, django
django.setup()
from hub.runtime import gpus
gpus.SECONDS_A_LOOK = 0.05
folder = pathlib.Path(sys.argv[1])
child = "import os, pathlib, time; place = pathlib.Path(os.environ['PLACE']); n = len(list(place.iterdir())); " \
    "(place / str(os.getpid())).write_text(os.environ['CUDA_VISIBLE_DEVICES']); time.sleep(0 if n < 1 else 600)"
commands, environments = {}, {}
for number in range(2):
    place = folder / str(number)
    place.mkdir()
    commands[f"w{number}"] = [sys.executable, "-c", child]
    environments[f"w{number}"] = {"CUDA_VISIBLE_DEVICES": str(number), "PLACE": str(place)}
gpus.Group(commands, environments, logs=folder / "logs", say=lambda text: print(text, flush=True)).run()
print("over", flush=True)
"""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "hub.settings", "HUB_DATA": str(tmp_path / "data")}
    group = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env=env, stdout=subprocess.PIPE, text=True)
    try:
        seen = [tmp_path / "0", tmp_path / "1"]
        until = time.monotonic() + 60
        while not all(place.is_dir() and len(list(place.iterdir())) == 2 for place in seen):
            assert time.monotonic() < until and group.poll() is None
            time.sleep(0.05)
        for number, place in enumerate(seen):
            assert {path.read_text() for path in place.iterdir()} <= {str(number), ""}
        pids = [int(max(place.iterdir(), key=lambda path: path.stat().st_mtime_ns).name) for place in seen]
        group.send_signal(signal.SIGTERM)
        said = group.communicate(timeout=60)[0]
        assert group.returncode == 0 and said.endswith("over\n") and "w0 stopped" in said
        assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    finally:
        group.kill()
