"""Where a mixture sends tokens: for each task a heat map, layers across, experts down, darker for a larger share."""

from hub.web.charts.modules import Chart, heat_map

LABEL = 13


def maps(routing: dict | None) -> list[Chart]:
    """One heat map a task of the report's routing; nothing where no data was read."""
    if not routing:
        return []
    experts, layers = routing["experts"], routing["layers"]
    labels = short(experts)
    drawn = []
    for task, row in routing["tasks"].items():
        placed = {
            (layer, labels[expert]): (f"layer {layer}, {experts[expert]}", share)
            for layer, shares in zip(layers, row["layers"], strict=True)
            for expert, share in enumerate(shares)
        }
        drawn.append(heat_map(task, placed, labels))
    return drawn


def table(routing: dict | None) -> dict | None:
    """Shares over all modules: {"experts": [label], "rows": [{"task", "shares": [float], "best": index}]}."""
    if not routing:
        return None
    rows = [
        {"task": task, "cells": [{"share": share, "best": share == max(row["shares"])} for share in row["shares"]]}
        for task, row in routing["tasks"].items()
    ]
    return {"experts": short(routing["experts"]), "rows": rows}


def short(names: list[str]) -> list[str]:
    """The last parts of names, cut to what stands beside a row; with a number where two would be alike."""
    labels = []
    for number, name in enumerate(names, 1):
        label = name.rpartition("/")[2].partition("@")[0]
        label = label if len(label) <= LABEL else f"{label[: LABEL - 1]}…"
        labels.append(label if label not in labels else f"{label[: LABEL - 3]}…{number}")
    return labels
