"""Drawings of a comparison of merges: what a rank can keep of the sum, and who points where."""

from dataclasses import dataclass

from hub.web.charts.modules import STEPS
from hub.web.charts.routing import short

WIDE, HIGH, LEFT, BELOW = 420, 200, 46, 24
CELL, GAP, LABELS, TOP = 30, 2, 128, 4
NUMBERED = 12
"""Up to so many adapters each cell holds its number."""


@dataclass(frozen=True, slots=True)
class Curve:
    """A line in a box of `width` × `height`; `mark` is the x of the asked rank, `ticks` carry y and label."""

    width: int
    height: int
    line: str
    mark: float
    rank: int
    ticks: list[dict]
    end: int
    said: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Cells carry x, y, heat (of the absolute value), text and title; rows carry y and label."""

    width: int
    height: int
    cells: list[dict]
    rows: list[dict]
    columns: list[dict]
    cell: int


def spectrum(report: dict) -> Curve | None:
    """The share of the weighted sum that the best update of each rank keeps; None with fewer than two points."""
    points = report["spectrum"]["kept"]
    if len(points) < 2:
        return None
    end, rank = points[-1][0], report["rank"]

    def place(at: float, share: float) -> tuple[float, float]:
        x = LEFT + (WIDE - LEFT - 8) * at / end
        return round(x, 1), round(6 + (HIGH - BELOW - 6) * (1 - share), 1)

    line = "M" + "L".join(f"{x} {y}" for x, y in (place(*point) for point in points))
    ticks = [{"y": place(0, share)[1], "label": f"{share:.0%}"} for share in (0.0, 0.5, 1.0)]
    held = [share for at, share in points if at <= rank]
    said = f"Rank {rank} can hold {held[-1]:.0%} of the sum, rank {end} all of it" if held else ""
    return Curve(WIDE, HIGH, line, place(min(rank, end), 0)[0], rank, ticks, end, said)


def conflicts(report: dict) -> Matrix:
    """Cosines between the adapters' updates."""
    names = [adapter["name"] for adapter in report["adapters"]]
    labels, cosines = short(names), report["pairs"]["cosines"]
    step = CELL + GAP
    cells = [
        {
            "x": LABELS + j * step,
            "y": TOP + i * step,
            "heat": min(STEPS - 1, int(STEPS * abs(value))),
            "text": f"{value:.2f}" if len(names) <= NUMBERED and i != j else "",
            "title": f"{names[i]} and {names[j]}: {value:.3f}",
        }
        for i, row in enumerate(cosines)
        for j, value in enumerate(row)
        if value is not None
    ]
    middle = CELL // 2
    return Matrix(
        width=LABELS + len(names) * step,
        height=TOP + len(names) * step + 18,
        cells=cells,
        rows=[{"y": TOP + i * step + middle + 4, "label": f"{i + 1} {label}"} for i, label in enumerate(labels)],
        columns=[{"x": LABELS + j * step + middle, "label": str(j + 1)} for j in range(len(names))],
        cell=CELL,
    )
