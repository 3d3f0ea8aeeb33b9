"""The adapters that are merged: one a task and set, of one rank, made by examples/train.py once and kept.

`unlike` has a seed of its own for each task, as adapters of different makers have; `one_seed` the same first values of
A and the same order of rows for all. `examples` are the four of examples/adapters, of ranks 3 to 6, and
`examples_same_seed` those of one seed beside them, of rank 2; they were trained on the rows held back here, too.
"""

import json
import subprocess
import sys
from pathlib import Path

from .tasks import ROOT, Task

WORK = ROOT / "build" / "bench" / "merge_quality"
RANK = 8
EXAMPLES = {"examples": "adapters", "examples_same_seed": "adapters_same_seed"}
SETS = ("unlike", "one_seed", *EXAMPLES)
ONE_SEED = 7
SEEDS = {
    **{"triage": 11, "mood": 12, "dates": 13, "orders": 14, "prices": 15, "logins": 16},
    **{"boolean_expressions": 21, "navigate": 22, "sports_understanding": 23, "disambiguation_qa": 24},
    **{"causal_judgement": 25},
}
STEPS = {"dates": 48, "logins": 80, "boolean_expressions": 120, "navigate": 120}
USUAL_STEPS = 60


def adapter(task: Task, which: str, base: Path) -> Path:
    """The folder of a task's adapter in the set `which`, trained now where it isn't there yet."""
    if which in EXAMPLES:
        return ROOT / "examples" / EXAMPLES[which] / task.name
    seed, steps = SEEDS[task.name] if which == "unlike" else ONE_SEED, STEPS.get(task.name, USUAL_STEPS)
    out = WORK / "adapters" / f"r{RANK}-seed{seed}-steps{steps}" / task.name
    if not (out / "adapter_config.json").exists():
        data = WORK / "data" / task.name
        data.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in task.train)
        (data / "train.jsonl").write_text(lines, encoding="utf-8")
        options = ["--base", base, "--data", data.parent, "--rank", RANK, "--seed", seed, "--steps", steps]
        command = [sys.executable, ROOT / "examples" / "train.py", task.name, *options, "--bf16", "--out", out]
        subprocess.run([str(part) for part in command], check=True)
    return out
