"""The toy of eight tasks: trained mixtures leave the uniform average of the same adapters far behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stability.margins import at_least, at_most

BENCH = Path(__file__).resolve().parents[2] / "bench" / "moe_toy.py"


def measure(folder: Path, *options: str) -> dict[str, dict]:
    """The bench's rows by mixture."""
    subprocess.run([sys.executable, BENCH, "--json", folder / "rows.json", *options], check=True)
    return {row["case"].partition(": ")[2]: row for row in json.loads((folder / "rows.json").read_text())}


@pytest.mark.slow
@pytest.mark.trained
def test_trained_mixtures_come_near_the_oracle(tmp_path):
    rows = measure(tmp_path)
    average, oracle = rows["SMoRA router"]["theirs"], rows["SMoRA router"]["oracle"]
    at_most(oracle, 0.05, "nats, oracle")
    at_least(average, 2.0, "nats, average")
    most = {"MeteoRA top-2": 1.3, "MeteoRA top-2, β = 1": 1.1, "MeteoRA top-2, experts trained": 0.3}
    most |= {"SMoRA router": 0.7, "SMoRA full": 0.3}
    for name, limit in most.items():
        at_most(rows[name]["ours"], limit, f"nats, {name}")
    for name in ("MeteoRA top-1", "MeteoRA, prototypes, no data"):
        at_most(rows[name]["ours"] - average, 0.0, f"nats above the average, {name}")


@pytest.mark.slow
@pytest.mark.trained
def test_the_quick_run_is_enough_to_see_it(tmp_path):
    rows = measure(tmp_path, "--quick")
    for name in ("MeteoRA top-2", "SMoRA router"):
        at_least(rows[name]["ratio"], 1.5, f"average over {name}")
