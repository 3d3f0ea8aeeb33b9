"""Quality over rank as a picture: a dot for each candidate that was measured to the end, those on the front joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

WIDE, HIGH, LEFT, BELOW = 640, 240, 52, 34


@dataclass(frozen=True)
class Picture:
    """Dots {x, y, front, label}, the path through the best of each rank, ticks of both axes {x or y, label}."""

    width: int
    height: int
    dots: list[dict]
    line: str
    across: list[dict]
    up: list[dict]


def picture(rows: Sequence[dict]) -> Picture | None:
    """The drawing of {"rank", "quality", "front", "label"}; None for fewer than two."""
    if len(rows) < 2:
        return None
    ranks = sorted({row["rank"] for row in rows})
    low, high = log2(ranks[0]), log2(ranks[-1])
    least, most = min(row["quality"] for row in rows), max(row["quality"] for row in rows)
    bottom, top = max(0.0, least - 0.05), min(1.0, most + 0.05)

    def across(rank: int) -> float:
        share = (log2(rank) - low) / (high - low) if high > low else 0.5
        return round(LEFT + 16 + (WIDE - LEFT - 40) * share, 1)

    def up(quality: float) -> float:
        return round(8 + (HIGH - BELOW - 16) * (1 - (quality - bottom) / ((top - bottom) or 1)), 1)

    dots = [
        {"x": across(row["rank"]), "y": up(row["quality"]), "front": row["front"], "label": row["label"]}
        for row in rows
    ]
    best = [max((row for row in rows if row["rank"] == rank), key=lambda row: row["quality"]) for rank in ranks]
    line = "M" + "L".join(f"{across(row['rank'])} {up(row['quality'])}" for row in best)
    ticks = [bottom, (bottom + top) / 2, top]
    return Picture(
        WIDE,
        HIGH,
        dots,
        line,
        [{"x": across(rank), "label": rank} for rank in ranks],
        [{"y": up(value), "label": f"{100 * value:.0f} %"} for value in ticks],
    )
