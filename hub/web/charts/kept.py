"""What a merge keeps of each adapter, all layers in one picture: layers across, projections down, a bar an adapter.

`report["modules"][name]["kept_inputs"]`: the share of each adapter's update that the result holds, 1 for all of it;
a bar is as high as its share, from nothing to the whole cell.
"""

from dataclasses import dataclass

from hub.web.charts.composition import COLOURS
from hub.web.charts.modules import CELL, GAP, LEFT, TOP, Chart, heat_map, kind_order, split


@dataclass(frozen=True, slots=True)
class Picture:
    """`frame` is the grid with its labels, `paths` the bars, one a colour, `legend` the adapters' colours and means."""

    frame: Chart
    paths: list[dict]
    legend: list[dict]


def picture(report: dict, names: list[str]) -> Picture | None:
    """The picture; None for a report without shares, or names without layer numbers."""
    kept = {name: module.get("kept_inputs") for name, module in report.get("modules", {}).items()}
    placed = {place: (name, shares) for name, shares in kept.items() if shares and (place := split(name))}
    if not placed:
        return None
    kinds = sorted({kind for _, kind in placed}, key=kind_order)
    frame = heat_map(
        "What is kept of each adapter",
        {at: (_said(*row, names), 0.0) for at, row in placed.items()},
        kinds,
        tell=lambda said, _: said,
    )
    layers = sorted({layer for layer, _ in placed})
    paths: dict[int, list[str]] = {}
    for (layer, kind), (_, shares) in placed.items():
        x, y = LEFT + layers.index(layer) * (CELL + GAP), TOP + kinds.index(kind) * (CELL + GAP)
        width = CELL / len(shares)
        for adapter, share in enumerate(shares):
            high = CELL * min(max(share or 0.0, 0.0), 1.0)
            if high:
                bar = f"M{x + adapter * width:.5g} {y + CELL}v-{high:.3g}h{width:.3g}v{high:.3g}z"
                paths.setdefault(adapter % COLOURS, []).append(bar)
    return Picture(
        frame=frame,
        paths=[{"colour": colour, "d": "".join(parts)} for colour, parts in sorted(paths.items())],
        legend=_legend(report, names),
    )


def _said(module: str, shares: list[float | None], names: list[str]) -> str:
    each = [f"{name} {share:.0%}" for name, share in zip(names, shares, strict=False) if share is not None]
    return f"{module}: {', '.join(each)}"


def _legend(report: dict, names: list[str]) -> list[dict]:
    whole = report.get("summary", {}).get("kept_inputs") or [None] * len(names)
    return [
        {"name": name, "short": name.rpartition("/")[2], "colour": place % COLOURS, "share": share}
        for place, (name, share) in enumerate(zip(names, whole, strict=False))
    ]
