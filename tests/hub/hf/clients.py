"""The stock clients against a live hub: each script in a process and a HF_HOME of its own."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

FOREIGN = ("HF_", "HUGGING", "TRANSFORMERS_")
SECONDS = 240


def run(script: str, *, endpoint: str | None, home: Path, signed_in: str | None = None, **given: object):
    """What the script prints last, as JSON. `GIVEN` are the arguments there; it fails with the script's errors."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    environment |= {"HF_HOME": str(home), "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"HF_ENDPOINT": endpoint} if endpoint else {}
    environment |= {"HF_TOKEN": signed_in} if signed_in else {}
    start = f"import json\nGIVEN = json.loads({json.dumps(json.dumps(given, default=str))})\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", start + textwrap.dedent(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.strip().splitlines()[-1])
