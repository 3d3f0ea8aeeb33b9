"""The compare page's table: one row a column of `queries.compare`, best value of each metric marked."""

from hub import access, queries
from hub.access import Viewer
from hub.errors import Invalid
from hub.models import Kind

MOST = 20
LOWER_IS_BETTER = ("nll", "loss", "perplexity")


def build(viewer: Viewer, names: list[str], dataset: str = "") -> dict:
    """{"tables": [{"dataset", "split", "metrics", "rows": [{"name", "base", "cells": [{"value", "best"}]}]}]}."""
    names = list(dict.fromkeys(name for name in names if name))
    if len(names) > MOST:
        raise Invalid(f"At most {MOST} versions can be compared at once; {len(names)} were given.", field="version")
    versions = [access.parse_input(viewer, name, kind=Kind.ADAPTER) for name in names]
    measured_on = access.parse_input(viewer, dataset, kind=Kind.DATASET) if dataset else None
    table = queries.compare(viewer, versions, dataset=measured_on) if versions else {"columns": [], "rows": []}
    labels = set(map(str, versions))
    return {
        "versions": versions,
        "tables": [_table(row, table["columns"], labels) for row in table["rows"]],
        "dataset": dataset,
    }


def _table(row: dict, columns: list[str], labels: set[str]) -> dict:
    measured = row["metrics"]
    names = sorted({name for figures in measured.values() for name in figures} - {"rows"})
    best = {name: _best(name, [figures[name] for figures in measured.values() if name in figures]) for name in names}
    rows = []
    for column in columns:
        figures = measured.get(column, {})
        cells = [
            {"value": figures.get(name), "best": name in figures and figures[name] == best[name]} for name in names
        ]
        rows.append({"name": column, "base": column not in labels, "cells": cells, "rows": figures.get("rows")})
    return {"dataset": row["dataset"], "split": row["split"], "metrics": names, "rows": rows}


def _best(name: str, values: list[float]) -> float | None:
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) < 2:
        return None
    return min(numbers) if name.startswith(LOWER_IS_BETTER) else max(numbers)
