"""What a merge lost: the base, each input, the exact mean and the merge on the same rows of each task.

Each task's yardstick is the input that is best there, as an adapter of that task would be. The verdict is of the mean
over the tasks of merge minus yardstick, paired by rows, with its 95 % interval; the words are those of a transfer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from composition.intervals import Interval, in_percent, in_points, mean_of
from composition.judging.figures import Figures, task_less

BASE, MEAN, MERGED, INPUT = "base", "mean", "merge", "input-"


def called(arm: str) -> str:
    """What progress calls an arm; inputs by their places, since a watcher may not see them all."""
    if arm.startswith(INPUT):
        return f"input {int(arm.removeprefix(INPUT)) + 1}"
    return {BASE: "the base", MEAN: "the exact mean", MERGED: "the merge"}.get(arm, arm)


def judge(arms: Mapping[str, Figures], tasks: int) -> dict[str, Any]:
    """`arms` are `base`, `mean` (where it can be made), `merge`, and `input-0`, `input-1`, … in their order.

    {"state", "sentence", "tasks": [row], "means": {arm: share}, "less": interval or None}; a row is {"shares": {arm:
    share}, "nll": {arm: nats}, "rows", "best": arm, "kept": {arm: share by the best input's, None where that is 0},
    "less": merge minus best input}. `state`: better, lossless, open (a loss within chance), lossy, or unmeasured where
    no metric counts rows.
    """
    rows = [_task(arms, number) for number in range(tasks)]
    counted = [row for row in rows if row["best"]]
    if not counted:
        sentence = "To judge the merge, measure it by a metric that counts rows (exact_match or choice)."
        return {"state": "unmeasured", "sentence": sentence, "tasks": rows, "means": {}, "less": None}
    means = {arm: sum(row["shares"][arm] for row in counted) / len(counted) for arm in arms}
    gap = mean_of([Interval(**row["less"]) for row in counted])
    state, sentence = _words(counted, means, gap)
    return {"state": state, "sentence": sentence, "tasks": rows, "means": means, "less": asdict(gap)}


def _task(arms: Mapping[str, Figures], number: int) -> dict[str, Any]:
    here = {arm: figures.tasks[number] for arm, figures in arms.items()}
    merged = here[MERGED]
    row: dict[str, Any] = {"nll": {arm: task.nll for arm, task in here.items() if task.tokens}, "rows": merged.rows}
    if not merged.rows:
        return row | {"shares": {}, "best": None, "kept": {}, "less": None}
    best = max((arm for arm in here if arm.startswith(INPUT)), key=lambda arm: here[arm].share)
    top = here[best].share
    return row | {
        "shares": {arm: task.share for arm, task in here.items()},
        "best": best,
        "kept": {arm: task.share / top if top else None for arm, task in here.items()},
        "less": asdict(task_less(merged, here[best])),
    }


def _words(rows: Sequence[dict[str, Any]], means: Mapping[str, float], gap: Interval) -> tuple[str, str]:
    """(state, sentence)."""
    top = sum(row["shares"][row["best"]] for row in rows) / len(rows)
    points = f"{abs(100 * gap.value):.1f} points"
    over = "one task" if len(rows) == 1 else f"the mean of {len(rows)} tasks"
    if gap.low > 0:
        state, said = "better", f"It lost nothing, and gained {points} over the best input of each task."
    elif gap.value >= 0:
        state, said = "lossless", "It lost nothing: it is level with the best input of each task."
        if gap.value:
            said = f"It lost nothing: {points} above the best input of each task, which chance alone may explain."
    elif gap.high >= 0:
        state, said = "open", f"No proven loss: {points} below the best input of each task, which chance may explain."
    else:
        state, said = "lossy", f"It lost {points} against the best input of each task."
    figures = [f"{in_percent(means[MERGED])} right against {in_percent(top)}, {over}"]
    figures += [f"the exact mean of the inputs {in_percent(means[MEAN])}"] if MEAN in means else []
    figures += [f"the base {in_percent(means[BASE])}"] if BASE in means else []
    bounds = f"95 % interval of the difference: {in_points(gap.low)} to {in_points(gap.high)} points"
    return state, f"{said} {'; '.join(figures)}; {bounds}, {sum(row['rows'] for row in rows)} rows."
