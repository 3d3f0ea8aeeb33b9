"""What the real run prints: a table of exact match with intervals, and the same as rows of JSON.

Intervals are 95 %, bootstrapped over the rows of every task; a ratio's rows are drawn together, for both sides answered
the same ones.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

BASE, OWN, SINGLE = "base", "own adapter", "adapter "
METEORA, HOT, SMORA, UNTRAINED = "MeteoRA", "MeteoRA, T = 15", "SMoRA", "MeteoRA, no data"
AVERAGE, LEGO, ARROW = "average of ΔW", "LEGO, rank 8", "PEFT Arrow"
COLUMNS = (BASE, OWN, METEORA, SMORA, UNTRAINED, AVERAGE, LEGO, ARROW)
COMPOSITE, ONE = "composite-3", "one of three"
Scores = Mapping[str, Mapping[str, Sequence[bool]]]
"""By variant and task, which answers were right; all variants were asked the same."""
Right = Sequence[Sequence[bool]]
Seconds = Mapping[str, Mapping[str, float]]
"""CPU seconds of "training" and "answering", by variant."""


def interval(ours: Right, theirs: Right | None = None) -> tuple[float, float, float]:
    """(mean over tasks, or its ratio to theirs on the same rows, and the 95 % interval of it)."""
    rng = np.random.default_rng(0)
    draws: list[np.ndarray] = []
    for right in zip(ours, theirs or ours, strict=True):
        pair = np.array(right, dtype=float)  # [2, rows]
        picked = rng.integers(0, pair.shape[1], (4000, pair.shape[1]))
        picked[0] = np.arange(pair.shape[1])  # The first draw is the sample itself.
        draws.append(pair[:, picked].mean(-1))
    above, below = np.mean(draws, axis=0)
    values = above / np.maximum(below, 1e-9) if theirs else above
    return float(values[0]), *map(float, np.quantile(values[1:], (0.025, 0.975)))


def table(scores: Scores, tasks: Sequence[str], seconds: Seconds) -> str:
    """Markdown: tasks, their mean and its share of the oracle's, prompts of three tasks, seconds."""
    own = [scores[OWN][task] for task in tasks]
    all_of = {name: [scores[name][task] for task in tasks] for name in COLUMNS}
    lines = [["task", *COLUMNS], ["---"] * (len(COLUMNS) + 1)]
    lines += [[task, *(f"{np.mean(scores[name][task]):.2f}" for name in COLUMNS)] for task in tasks]
    lines.append(["mean", *("{:.3f} ({:.2f} to {:.2f})".format(*interval(all_of[name])) for name in COLUMNS)])
    shares = ("{:.0%} ({:.0%} to {:.0%})".format(*interval(all_of[name], own)) for name in COLUMNS)
    lines.append(["of own adapter", *shares])
    notes = []
    for kind in (ONE, COMPOSITE):
        best = max((name for name in scores if name.startswith(SINGLE)), key=lambda name: np.mean(scores[name][kind]))
        here = {**scores, OWN: scores[best]}
        cell = {name: "{:.2f} ({:.2f} to {:.2f})".format(*interval([here[name][kind]])) for name in (*COLUMNS, HOT)}
        lines.append([kind, *(cell[name] for name in COLUMNS)])
        notes.append(f"{kind}: own adapter is the best single one, {best.removeprefix(SINGLE)}; {HOT}: {cell[HOT]}")
    for what, took in seconds.items():
        lines.append([f"{what}, CPU s", *(f"{took[name]:.0f}" if name in took else "" for name in COLUMNS)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n\n" + "\n".join(notes)


def rows_of(scores: Scores, tasks: Sequence[str], seconds: Seconds) -> list[dict[str, Any]]:
    """Both mixtures' means against everything, and every single figure."""
    rows: list[dict[str, Any]] = []
    for ours in (METEORA, SMORA):
        mine = [scores[ours][task] for task in tasks]
        for peer in (BASE, OWN, UNTRAINED, AVERAGE, LEGO, ARROW):
            theirs = [scores[peer][task] for task in tasks]
            ratio, low, high = interval(mine, theirs)
            values = {"ours": interval(mine)[0], "theirs": interval(theirs)[0], "ratio": ratio, "interval": [low, high]}
            rows.append({"case": f"{ours}, mean of {len(tasks)} tasks", "peer": peer, "unit": "exact match", **values})
    for name, right in scores.items():
        figures = {task: [sum(answers), len(answers)] for task, answers in right.items()}
        took = {what: by_name[name] for what, by_name in seconds.items() if name in by_name}
        rows.append({"case": "right answers", "peer": name, "figures": figures, "CPU seconds": took})
    return rows
