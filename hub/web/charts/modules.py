"""An adapter's modules as a picture: layers across, projections down, one cell a module, darker for more.

Server-made SVG: colours are classes (`heat-0` … `heat-9`), so that light and dark themes draw the same picture.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from composition.facts import AdapterFacts

LAYER = re.compile(r"^(.*?)\.(\d+)\.(.+)$")
ORDER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CELL, GAP, LEFT, TOP = 18, 2, 92, 4
STEPS = 10


@dataclass
class Chart:
    """One heat map: `cells` carry x, y, heat and title; `scale` names the lightest and darkest value."""

    title: str
    width: int
    height: int
    cells: list[dict]
    rows: list[dict]
    columns: list[dict]
    low: float
    high: float
    heats: range = field(default=range(STEPS))


def charts(facts: AdapterFacts, report: dict | None) -> list[Chart]:
    """Rank of every module where ranks differ, the norm ‖ΔW‖, and the error where a merge measured it."""
    measured = (report or {}).get("modules", {})
    figures = [
        ("Rank", {name: module.r for name, module in facts.modules.items()}),
        (
            "‖ΔW‖, the size of the update",
            {n: module.norm for n, module in facts.modules.items() if module.norm is not None},
        ),
        ("Relative error against the weighted mean", _figure(measured, "error_mean")),
    ]
    drawn = [chart(title, values) for title, values in figures if len(set(values.values())) > 1]
    return [one for one in drawn if one]


def rows(facts: AdapterFacts) -> list[dict]:
    """The same as a table: one row a module, in the order of layers."""
    return [
        {
            "name": name,
            "rank": module.r,
            "shape": f"{module.in_features} → {module.out_features}",
            "scale": module.scale,
            "norm": module.norm,
        }
        for name, module in sorted(facts.modules.items(), key=lambda item: place_in_layer(item[0]))
    ]


def chart(title: str, values: dict[str, float]) -> Chart | None:
    """The heat map of one figure by module; None for names that have no layer number."""
    placed = {place: (name, values[name]) for name in values if (place := split(name))}
    return heat_map(title, placed, sorted({kind for _, kind in placed}, key=kind_order)) if placed else None


def told(name: str, value: float) -> str:
    """What a cell says of itself."""
    return f"{name}: {value:.4g}"


def heat_map(
    title: str,
    placed: dict[tuple[int, str], tuple[str, float]],
    kinds: list[str],
    tell: Callable[[str, float], str] = told,
) -> Chart:
    """Layers across, `kinds` down: (layer, kind) → (what the cell is called, its value)."""
    layers = sorted({layer for layer, _ in placed})
    values = [value for _, value in placed.values()]
    low, high = min(values), max(values)
    across, down = CELL + GAP, CELL + GAP
    cells = [
        {
            "x": LEFT + layers.index(layer) * across,
            "y": TOP + kinds.index(kind) * down,
            "heat": min(STEPS - 1, int(STEPS * (value - low) / ((high - low) or 1))),
            "title": tell(name, value),
        }
        for (layer, kind), (name, value) in placed.items()
    ]
    every = max(1, len(layers) // 8)
    return Chart(
        title=title,
        width=LEFT + len(layers) * across,
        height=TOP + len(kinds) * down + 18,
        cells=cells,
        rows=[{"y": TOP + i * down + 13, "label": kind} for i, kind in enumerate(kinds)],
        columns=[
            {"x": LEFT + i * across + CELL // 2, "label": layer}
            for i, layer in enumerate(layers)
            if i % every == 0 or (i == len(layers) - 1 and i % every > every // 2)
        ],
        low=low,
        high=high,
    )


def split(name: str) -> tuple[int, str] | None:
    """(layer, projection) of a module's full path: `model.layers.3.self_attn.q_proj` → (3, `q_proj`)."""
    found = LAYER.match(name)
    return (int(found[2]), found[3].rsplit(".", 1)[-1]) if found else None


def place_in_layer(name: str) -> tuple:
    """Sort key: layer by layer, in each attention before feed-forward."""
    place = split(name)
    return (place[0], *kind_order(place[1])) if place else (-1, 0, name)


def _figure(measured: dict, key: str) -> dict[str, float]:
    values = {name: module.get(key) for name, module in measured.items()}
    return {name: value for name, value in values.items() if isinstance(value, int | float)}


def kind_order(kind: str) -> tuple[int, str]:
    return (ORDER.index(kind) if kind in ORDER else len(ORDER), kind)
