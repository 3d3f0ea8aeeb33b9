"""The client starts quickly and alone; the project's commands are there."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ["help", "setup", "demo", "up", "test", "test-slow", "bench", "lint"]
HEAVY = {"torch", "django", "transformers", "peft", "celery", "numpy", "httpx", "rich", "hub", "composition", "workers"}


def test_starting_loads_nothing_heavy():
    code = "import sys; from hubctl.cli import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert not HEAVY & {name.partition(".")[0] for name in done.stderr.split()}


def test_every_command_loads_without_the_hub():
    code = (
        "import sys; from hubctl import Hub; from hubctl.cli import COMMANDS, cli\n"
        "for name in COMMANDS: assert cli.get_command(None, name).help, name\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not (HEAVY - {"httpx", "rich"}) & {name.partition(".")[0] for name in done.stdout.split()}


def test_starting_costs_less_than_a_fifth_of_a_second():
    def cost() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "hubctl", "--help"], capture_output=True, cwd=ROOT, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cost() for _ in range(5)) < 0.2


@pytest.mark.parametrize("target", TARGETS)
def test_the_makefile_knows(target):
    done = subprocess.run(["make", "-n", target], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr


def test_an_old_python_is_refused_with_a_sentence(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for name in ("Makefile", "requirements.txt", "requirements-models.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(["make", "setup", f"PYTHON={old}"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode != 0
    assert "Python 3.11 or newer" in done.stdout + done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_checks_of_a_change_run_the_suite_and_skip_no_service():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "make test" in text
    assert "set -euo pipefail" in text
    assert "CI=true" in text
