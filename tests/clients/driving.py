"""A journey in a process and a HF_HOME of its own: the Python of an environment, against a served hub."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOREIGN = ("HF_", "HUGGING", "TRANSFORMERS_", "DJANGO", "HUB", "PYTEST")
SECONDS = 600


def environment(home: Path, url: str, *, xet: bool = True, token: str = "") -> dict[str, str]:
    """This process's, without what it says of hubs and caches; `HF_ENDPOINT` is `url`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    kept |= {"HF_HOME": str(home), "HF_ENDPOINT": url, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
    kept |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(home / "xdg"), "HOME": str(home), "NO_COLOR": "1"}
    kept |= {"HF_TOKEN": token} if token else {}
    return kept | ({} if xet else {"HF_HUB_DISABLE_XET": "1"})


def run(
    journey: str,
    *,
    url: str,
    home: Path,
    python: Path | str = sys.executable,
    xet: bool = True,
    signed_in: bool = True,
    **given: object,
) -> list[dict]:
    """The calls of `tests.clients.journeys.<journey>` in order, as `calls.run` says them, or an AssertionError.

    `signed_in` is ada, by HF_TOKEN; `given` is GIVEN there.
    """
    home.mkdir(parents=True, exist_ok=True)
    settings = environment(home, url, xet=xet, token=str(given["ada"]) if signed_in else "")
    done = subprocess.run(
        [str(python), "-W", "ignore", "-m", f"tests.clients.journeys.{journey}"],
        env=settings | {"GIVEN": json.dumps({"url": url, **given})},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    rows = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("CALL ")]
    assert done.returncode == 0 and rows, done.stdout[-1000:] + done.stderr[-4000:]
    return rows


def failures(rows: list[dict]) -> str:
    """What didn't work, to read; empty where everything did."""
    return "\n".join(f"{row['call']}:\n{row['why']}" for row in rows if row["result"] == "no")
