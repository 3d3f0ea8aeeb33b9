"""The stock clients in processes of their own, with a fresh home, against a hub that is served."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

FOREIGN = ("HF_", "HUGGING", "TRANSFORMERS_")
SECONDS = 240
BEGIN = """
import os, sys, time
from pathlib import Path
import huggingface_hub as hh
api = hh.HfApi(endpoint=os.environ["HF_ENDPOINT"], token=os.environ["TOKEN"])
"""


class Client:
    """Runs pieces of a program that has `api`, a stock `HfApi`; `home` stays from one run to the next."""

    def __init__(self, url: str, token: str, home: Path, **environment: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        self.environment = clean | environment
        self.environment |= {"HF_ENDPOINT": url, "TOKEN": token, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
        self.environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}

    def start(self, program: str) -> subprocess.Popen:
        """Begin a program."""
        command = [sys.executable, "-c", BEGIN + program]
        out = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        process = subprocess.Popen(command, env=self.environment, stdout=out, stderr=subprocess.STDOUT)
        process.said = out
        return process

    def run(self, program: str, *, fails: bool = False, seconds: float = 120) -> str:
        """What it printed; AssertionError with that where it ended otherwise than expected."""
        process = self.start(program)
        code = process.wait(seconds)
        said = ended(process)
        assert bool(code) == fails, said
        return said


def ended(process: subprocess.Popen) -> str:
    """What a process that has ended printed."""
    with process.said as out:
        out.seek(0)
        return out.read()


def kill(process: subprocess.Popen) -> None:
    """End it as a lost machine ends."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.said.close()


def rss(pid: int) -> int:
    """Bytes of anonymous memory of a process and its children."""
    total = 0
    for one in [pid, *_children(pid)]:
        for line in Path(f"/proc/{one}/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                total += int(line.split()[1]) << 10
    return total


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def until(true, seconds: float = 60.0) -> None:
    """Wait until it is."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "It did not come to that."
        time.sleep(0.02)


def of(hub: SimpleNamespace, token: str, folder: Path, **environment: str) -> Client:
    """A client of the front with a home in this folder."""
    return Client(f"http://127.0.0.1:{hub.front}", token, folder / "home", **environment)


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
