"""Runs a script with the stock client in a process of its own: a fresh HF_HOME, HF_ENDPOINT at the served hub."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path


def run(script: str, *, endpoint: str, home: Path, token: str = "", **environment: str) -> dict:
    """What the script put into `said`, by JSON. AssertionError with its output where it failed."""
    outside = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "DJANGO"))}
    variables = {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        **({"HF_TOKEN": token} if token else {}),
        **environment,
    }
    whole = f"import json\nsaid = {{}}\n{textwrap.dedent(script)}\nprint('SAID ' + json.dumps(said, default=str))\n"
    done = subprocess.run(
        [sys.executable, "-c", whole], env=outside | variables, capture_output=True, text=True, timeout=180, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("SAID ")]
    assert done.returncode == 0 and lines, f"{done.stdout}\n{done.stderr}"
    return json.loads(lines[-1].removeprefix("SAID "))
