"""Questions of the real run: the examples' tasks, BIG-bench Hard's with a LoRA trained for each, and composite-3.

A BBH task's rows are shuffled and split 60 : 40; examples/train.py makes a LoRA of the first part, which is kept under
its rank, seed and steps. A composite-3 prompt holds the questions of three different tasks, after two worked examples
from the training rows that show every task, as MeteoRA's composite-n does (arXiv:2405.13053, official data); its answer
is a numbered list, of which each of the three entries counts. "One of three" asks the same questions without examples
and wants the answer to one of them, which needs no skill at lists.
"""

import json
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "bench" / "mixtures"
EXAMPLES = ("dates", "mood", "orders", "triage")
BBH = {"boolean_expressions": ("4", "21", "120"), "disambiguation_qa": ("4", "22", "80")}
"""Rank, seed and steps of each further LoRA."""
HEAD = "Answer the three questions with a numbered list of three short answers.\n\n"
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    name: str
    adapter: Path
    train: list[Row]
    test: list[Row]


@dataclass(frozen=True)
class Size:
    """How much is trained and measured."""

    rows: int
    prompts: int
    train_rows: int | None
    steps: int
    batch: int


def example(name: str, size: Size) -> Task:
    splits = [read_rows(ROOT / "examples" / "data" / name / f"{split}.jsonl") for split in ("train", "test")]
    return Task(name, ROOT / "examples" / "adapters" / name, splits[0][: size.train_rows], splits[1][: size.rows])


def hard(name: str, data: Path, size: Size) -> Task:
    """One of BBH's tasks, its rows shuffled and split 60 : 40, with a LoRA trained on the first part."""
    found = json.loads((data / f"{name}.json").read_text(encoding="utf-8"))["examples"]
    rows = [{"prompt": row["input"], "completion": row["target"]} for row in found]
    random.Random(f"{name}-0").shuffle(rows)
    count = round(0.6 * len(rows))
    folder = WORK / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[:count])
    (folder / "train.jsonl").write_text(text, encoding="utf-8")
    rank, seed, steps = BBH[name]
    out = WORK / "adapters" / f"r{rank}-seed{seed}-steps{steps}" / name
    if not (out / "adapter_config.json").exists():
        options = ["--data", folder.parent, "--rank", rank, "--seed", seed, "--steps", steps, "--out", out]
        subprocess.run([sys.executable, ROOT / "examples" / "train.py", name, *options], check=True)
    return Task(name, out, rows[:count][: size.train_rows], rows[count:][: size.rows])


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def composites(tasks: Sequence[Task], size: Size) -> list[Row]:
    """Prompts of three different tasks each, after two examples from the training rows that show every task."""
    rng = random.Random(47)
    order = rng.sample(range(len(tasks)), len(tasks))
    shown = [tasks[number] for number in (order * 2)[:6]]
    shots = "".join(_three([(task, rng.choice(task.train)) for task in part])[0] for part in (shown[:3], shown[3:]))
    rows = []
    for _ in range(size.prompts):
        picked = [(task, rng.choice(task.test)) for task in rng.sample(list(tasks), 3)]
        _, questions, answers = _three(picked)
        wanted = [row["completion"].strip() for _, row in picked]
        rows.append({"prompt": HEAD + shots + questions, "completion": answers, "wanted": wanted, "bare": questions})
    return rows


def by_number(together: Sequence[Row], prompts: int) -> list[Row]:
    """The questions of some composite prompts, all three in every prompt, asked for one at a time."""
    rows = []
    for row in together[:prompts]:
        questions = row["bare"].removesuffix("Answers:")
        for number, answer in enumerate(row["wanted"], 1):
            rows.append({"prompt": f"{questions}Answer question {number} alone.", "completion": answer})
    return rows


def _three(picked: list[tuple[Task, Row]]) -> tuple[str, str, str]:
    """(worked example, questions alone, answers alone)."""
    asked = [" ".join(row["prompt"].split()) for _, row in picked]
    questions = "Questions:\n" + "".join(f"{n}. {text}\n" for n, text in enumerate(asked, 1)) + "Answers:"
    answers = "\n".join(f"{n}. {row['completion']}" for n, (_, row) in enumerate(picked, 1))
    return f"{questions}\n{answers}\n\n", questions, answers


def answered(text: str) -> dict[int, str]:
    """The numbered answers of a list, each by its first occurrence."""
    found: dict[int, str] = {}
    for number, answer in re.findall(r"^\s*(\d+)[.)]\s*(.*?)\s*$", text, re.MULTILINE):
        found.setdefault(int(number), answer)
    return found
