"""Which merge to try first, from the figures of a comparison. Needs no torch.

The rules follow the measurements of `docs/merge-quality.md`: a little text is worth more than any rule on weights
alone; a cut to a low rank is best made where the spectrum allows it; what helps adapters of one random start does not
help others.
"""

from collections.abc import Mapping
from typing import Any

from composition.registry import METHODS

WITH_TEXT = "regmean"
PLAIN = "svd"
EXACT = "cat"
CONFLICT = -0.1
"""A cosine below this says that two adapters pull against each other."""
ONE_START = 0.5
"""Mean |cosine| of rows of A from which two adapters are taken to be trained from one start."""


def recommend(report: Mapping[str, Any], *, text_at_hand: bool) -> tuple[str, str]:
    """(kind, reason): the method to try first, and why, as a sentence. `report` is that of `judge.compare`."""
    if text_at_hand and WITH_TEXT in METHODS:
        return WITH_TEXT, (
            f"A few dozen prompts of each task are at hand: {METHODS[WITH_TEXT].label} weighs every adapter by what "
            "its own inputs use, and keeps far more of each task than any merge of weights alone."
        )
    if one_start(report):
        return PLAIN, (
            "The adapters were trained from one random start. Clusters of their units are then averages rank by rank, "
            f"and the mean of their updates, cut by {METHODS[PLAIN].label.lower()}, keeps more."
        )
    lowest = min(off_diagonal(report["pairs"]["cosines"]), default=0.0)
    if lowest < CONFLICT and (method := best_in(report, "conflicts")):
        return method, (
            f"Some adapters pull against each other (cosine {lowest:.2f}), and {METHODS[method].label} settles signs "
            "before it adds."
        )
    return PLAIN, (
        "The adapters have little in common, so that no rule on their weights is known to beat their mean; this is the "
        f"closest to it at rank {report['rank']}."
    )


def one_start(report: Mapping[str, Any]) -> bool:
    """Whether all pairs of adapters look as if they were trained from one random start."""
    aligned = off_diagonal(report["pairs"]["aligned"])
    pairs = len(report["adapters"]) * (len(report["adapters"]) - 1)
    return len(aligned) == pairs > 0 and min(aligned) > ONE_START


def best_in(report: Mapping[str, Any], purpose: str) -> str | None:
    """Of the judged methods with this purpose, the one that keeps the adapters most evenly."""
    rows = [
        row for row in report["methods"] if METHODS[row["kind"]].purpose == purpose and row.get("balance") is not None
    ]
    return max(rows, key=lambda row: (row["balance"], -(row["error_mean"] or 0.0)))["kind"] if rows else None


def off_diagonal(matrix: list[list[float | None]]) -> list[float]:
    """What stands beside the diagonal and is known."""
    return [value for i, row in enumerate(matrix) for j, value in enumerate(row) if i != j and value is not None]
