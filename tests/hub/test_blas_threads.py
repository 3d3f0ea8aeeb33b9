"""Every process of the hub, and its client, has one thread for numpy's algebra, unless told otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASK = (
    "import threadpoolctl, numpy, json; "
    "print([row['num_threads'] for row in threadpoolctl.threadpool_info() if row['user_api'] == 'blas'])"
)
CLIENT = f"""
import sys
from hubctl import cli
cli.run = lambda: 0
try:
    cli.main()
except SystemExit:
    {ASK}
"""
ENTRIES = {
    "web": [sys.executable, "-c", f"import hub.asgi; {ASK}"],
    "wsgi": [sys.executable, "-c", f"import hub.wsgi; {ASK}"],
    "worker": [sys.executable, "-c", f"import workers.app; {ASK}"],
    "manage": [sys.executable, "manage.py", "shell", "-v0", "-c", ASK],
    "client": [sys.executable, "-c", CLIENT],
}


def threads(entry: str, folder: Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    kept |= {"HUB_DATA": str(folder), "DJANGO_SETTINGS_MODULE": "hub.settings"} | environment
    run = subprocess.run(ENTRIES[entry], cwd=ROOT, env=kept, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_has_one_thread(entry, tmp_path):
    assert threads(entry, tmp_path) == "[1]"


@pytest.mark.parametrize("entry", ["web", "client"])
def test_the_environment_comes_first(entry, tmp_path):
    assert threads(entry, tmp_path, OPENBLAS_NUM_THREADS="2") == "[2]"
