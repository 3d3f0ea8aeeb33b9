"""Run the trained tests under ten seeds, each with its starting weights moved by a millionth, and print the margins.

    python -m tests.stability [--seeds 10] [--first 0] [--json FILE] [pytest's arguments]

One line for each bound of each test: the bound, the values from the worst to the best, and the smallest margin. Exit
status 1 if a test failed under any seed. A run takes a few minutes a seed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.stability.margins import MARGINS, SEED


def run(seed: int, folder: Path, more: list[str]) -> tuple[list[dict], list[str]]:
    """(the margins that were noted, the tests that failed) under one seed."""
    noted = folder / f"{seed}.jsonl"
    noted.touch()
    command = [sys.executable, "-m", "pytest", "-p", "tests.stability.perturb", "-m", "trained and not slow", *more]
    given = os.environ | {SEED: str(seed), MARGINS: str(noted)}
    made = subprocess.run(command, env=given, capture_output=True, text=True)
    failed = [line.split(" - ")[0] for line in made.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if made.returncode and not failed:
        failed = [f"pytest ended with {made.returncode}: {(made.stdout + made.stderr)[-2000:]}"]
    return [json.loads(line) | {"seed": seed} for line in noted.read_text().splitlines()], failed


def table(lines: list[dict]) -> list[str]:
    """A row for each bound, tests in their order."""
    bounds = defaultdict(list)
    for line in lines:
        bounds[line["test"], line["what"], line["bound"]].append(line)
    rows = []
    for (test, what, bound), found in bounds.items():
        found.sort(key=lambda line: line["margin"])
        worst, best = found[0], found[-1]
        sign = "≥" if worst["value"] - bound == worst["margin"] else "≤"
        values = f"{worst['value']:.4g} to {best['value']:.4g}"
        name = test.removeprefix("tests/")
        rows.append(f"| `{name}` | {what} | {sign} {bound:g} | {values} | **{worst['margin']:.3g}** |")
    return ["| test | what | bound | worst to best | smallest margin |", "|---|---|---|---|---|", *rows]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options, more = parser.parse_known_args()
    lines, failures = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.first, options.first + options.seeds):
            noted, failed = run(seed, Path(folder), more)
            lines += noted
            failures += [f"seed {seed}: {name}" for name in failed]
            print(f"seed {seed}: {len(noted)} margins, {len(failed)} failed", flush=True)
            for name in failed:
                print(f"  {name}", flush=True)
    print("\n".join(table(lines)))
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
