"""Which merge to try first, from the figures of a comparison. Needs no torch.

The rules follow what was measured (`docs/merge-quality.md`): a little text of each task is worth more than any rule on
weights alone; without it no rule beats the mean of the updates on unlike tasks, and clusters of units that come from
one random start are averages rank by rank.
"""

from collections.abc import Mapping
from typing import Any

from composition.registry import METHODS

WITH_TEXT = "regmean"
PLAIN = "svd"
APART = 0.1
"""Updates whose cosines all lie below this stand nearly at right angles, as those of unlike tasks do."""
ONE_START = 0.5
"""Mean |cosine| of rows of A from which two adapters are taken to be trained from one start."""


def recommend(report: Mapping[str, Any], *, text_at_hand: bool) -> tuple[str, str]:
    """(kind, reason): the method to try first, and why, as sentences. `report` is that of `judge.compare`."""
    if text_at_hand and WITH_TEXT in METHODS:
        return WITH_TEXT, (
            "From a few dozen prompts of each task it keeps what each adapter answers to its own text; on unlike tasks "
            "that was about twice as much as the best merge of weights alone."
        )
    mean = f"the mean of the updates, cut to rank {report['rank']}"
    if one_start(report):
        return PLAIN, (
            f"The adapters were trained from one random start. This is {mean}; LoRA-LEGO would average A and B rank by "
            "rank, which keeps less."
        )
    if max(map(abs, off_diagonal(report["pairs"]["cosines"])), default=0.0) < APART:
        return PLAIN, (
            f"The updates stand nearly at right angles, as those of unlike tasks do. This is {mean}, the safe choice; "
            "no rule on weights alone is known to keep much more. A little text, a search over the scale, or a mixture "
            "that keeps the adapters apart helps more than another rule."
        )
    return PLAIN, f"The updates have directions in common, and this is {mean}, which keeps those first."


def one_start(report: Mapping[str, Any]) -> bool:
    """Whether all pairs of adapters look as if they were trained from one random start."""
    aligned = off_diagonal(report["pairs"]["aligned"])
    pairs = len(report["adapters"]) * (len(report["adapters"]) - 1)
    return len(aligned) == pairs > 0 and min(aligned) > ONE_START


def off_diagonal(matrix: list[list[float | None]]) -> list[float]:
    """What stands beside the diagonal and is known."""
    return [value for i, row in enumerate(matrix) for j, value in enumerate(row) if i != j and value is not None]
