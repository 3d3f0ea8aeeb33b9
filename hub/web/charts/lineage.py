"""Where a version comes from and what was made of it: parents → this → children, as places in one SVG.

One step each way. The recipe is shown once, where its arrows meet; what the reader may not see is drawn without a name.
"""

from dataclasses import dataclass

from django.urls import reverse

from hub.models import Version
from hub.names import split_path

WIDE, HIGH, GAP, SPACE = 202, 44, 14, 108
SHOWN = 8
LABEL = 22


@dataclass(frozen=True)
class Graph:
    """Boxes, arrows and labels with their coordinates; `more` counts what had no place."""

    width: int
    height: int
    boxes: list[dict]
    arrows: list[str]
    labels: list[dict]
    more: int


def graph(version: Version, lineage: dict[str, list[dict]]) -> Graph | None:
    """The drawing of `queries.lineage`; None where there is nothing on either side."""
    parents, children = lineage["parents"][:SHOWN], lineage["children"][:SHOWN]
    if not parents and not children:
        return None
    tallest = max(len(parents), len(children), 1)
    height = max(tallest * (HIGH + GAP) - GAP + 8, HIGH + 2 * LABEL if parents else 0)
    columns = [column for column in ("parents", "this", "children") if column == "this" or lineage[column]]
    x = {column: 2 + index * (WIDE + SPACE) for index, column in enumerate(columns)}
    middle = height / 2
    boxes = [{**_box(x["this"], middle, _this(version)), "here": True}]
    arrows, labels = [], []
    for column, nodes in (("parents", parents), ("children", children)):
        for y, node in zip(_spread(len(nodes), middle), nodes, strict=True):
            boxes.append(_box(x[column], y, node))
            ends = (
                (x[column] + WIDE, y, x["this"], middle)
                if column == "parents"
                else (x["this"] + WIDE, middle, x[column], y)
            )
            arrows.append(_arrow(*ends))
            if column == "children":
                labels.append({"x": x[column] - 10, "y": y - 7, "text": recipe(node), "anchor": "end"})
    if parents:
        above = middle - HIGH / 2 - 8
        labels.append({"x": x["this"], "y": above, "text": recipe({"recipe": version.recipe}), "anchor": "start"})
    more = len(lineage["parents"]) + len(lineage["children"]) - len(parents) - len(children)
    return Graph(x[columns[-1]] + WIDE + 2, round(height), boxes, arrows, labels, more)


def recipe(node: dict) -> str:
    """A recipe in a few characters: `lego · rank 16`."""
    given = node.get("recipe") or {}
    rank = f" · rank {given['rank']}" if given.get("rank") else ""
    return f"{given['kind']}{rank}" if given.get("kind") else ""


def _this(version: Version) -> dict:
    return {"repository": version.repository.path, "version": version.label, "origin": version.origin}


def _box(x: float, middle: float, node: dict) -> dict:
    box = {"x": x, "y": round(middle - HIGH / 2, 1), "width": WIDE, "height": HIGH, "hidden": node.get("hidden")}
    if node.get("hidden"):
        return box
    place, name = split_path(node["repository"])
    return {
        **box,
        "owner": _short(place, 26),
        "name": _short(name, 20 - len(node["version"])),
        "full": f"{node['repository']}@{node['version']}",
        "version": node["version"],
        "origin": node["origin"],
        "url": reverse("version", args=[place, name, node["version"]]),
    }


def _spread(n: int, middle: float) -> list[float]:
    step = HIGH + GAP
    return [middle + (i - (n - 1) / 2) * step for i in range(n)]


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    bend = (x2 - x1) / 2
    return f"M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2 - 3} {y2}"


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
