"""The compare page's matrix: a row a task, a column a version, one metric, each value beside that of one column."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from composition.intervals import Interval, mean_of
from hub import access, queries
from hub.access import Viewer
from hub.errors import HubError, Invalid
from hub.http.event_exports import harmless
from hub.models import Evaluation, Kind, Version
from hub.queries.verdict import less

MOST, OFFERED = 20, 8
LOWER_IS_BETTER = ("nll", "loss", "perplexity")
FIRST = ("exact_match", "choice")


@dataclass(frozen=True, slots=True)
class Cell:
    """One version's value on one task; None where it was not measured there.

    `change` is the difference to the reference column, with its interval where rows were right or wrong.
    """

    value: float | None = None
    rows: int | None = None
    best: bool = False
    change: Interval | float | None = None
    note: str = ""

    @property
    def interval(self) -> Interval | None:
        """The change, if it has bounds."""
        return self.change if isinstance(self.change, Interval) else None

    @property
    def told(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval is not None and not self.interval.low <= 0 <= self.interval.high


@dataclass(frozen=True, slots=True)
class Line:
    """A task: its cells in the columns' order."""

    name: str
    split: str
    cells: list[Cell]


def build(viewer: Viewer, names: Sequence[str], *, dataset: str = "", metric: str = "", against: str = "") -> dict:
    """For templates/browse/compare.html. Names that can't be seen are told in `missing`, and spoil nothing else."""
    names = list(dict.fromkeys(name for name in names if name))
    if len(names) > MOST:
        raise Invalid(f"At most {MOST} versions can be compared at once; {len(names)} were given.", field="version")
    versions, missing = _found(viewer, names)
    measured_on = access.parse_input(viewer, dataset, kind=Kind.DATASET) if dataset else None
    table = queries.newest_measured(viewer, versions, dataset=measured_on) if versions else {"columns": [], "rows": {}}
    metrics = _metrics(table["rows"].values())
    metric = metric if metric in metrics else next(iter(metrics), "")
    measured = {key: line for key, line in table["rows"].items() if any(metric in row.metrics for row in line.values())}
    columns = [name for name in table["columns"] if any(name in line for line in measured.values())] or table["columns"]
    against = against if against in columns else next(iter(columns), "")
    lines = [Line(*key, _cells(line, columns, metric, against)) for key, line in measured.items()]
    return {
        "versions": versions,
        "missing": missing,
        "columns": [{"name": name, "base": name not in set(map(str, versions))} for name in columns],
        "metrics": metrics,
        "metric": metric,
        "against": against,
        "lines": lines,
        "mean": _means(lines, len(columns), metric),
        "dataset": dataset,
    }


def offered(viewer: Viewer, find: str, held: Sequence[Version]) -> list[Version]:
    """The newest versions of adapters found by words, those that are compared already left out; none without words."""
    if not find.strip():
        return []
    rows = queries.best(queries.repositories(viewer, kind=Kind.ADAPTER), find, OFFERED + len(held))
    newest = queries.latest_versions(rows)
    return [newest[row.pk] for row in rows if row.pk in newest and newest[row.pk] not in held][:OFFERED]


def as_csv(built: dict) -> str:
    """The matrix as text: value, rows, difference and its bounds of every cell, a line each."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        ["dataset", "split", "version", built["metric"], "rows", f"minus {built['against']}", "low", "high", "paired"]
    )
    for line in [*built["lines"], *([Line("mean", "", built["mean"])] if built["mean"] else [])]:
        for column, cell in zip(built["columns"], line.cells, strict=True):
            bounds = cell.interval
            shown = (
                [bounds.value, bounds.low, bounds.high, bounds.paired] if bounds else [cell.change, None, None, None]
            )
            writer.writerow(map(_plain, [line.name, line.split, column["name"], cell.value, cell.rows, *shown]))
    return text.getvalue()


def _plain(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay numbers."""
    return harmless(value) if isinstance(value, str) else value


def _found(viewer: Viewer, names: Sequence[str]) -> tuple[list[Version], list[str]]:
    versions, missing = [], []
    for name in names:
        try:
            version = access.parse_input(viewer, name, kind=Kind.ADAPTER)
        except HubError as error:
            missing.append(f"{name}: {error.message}")
        else:
            versions += [] if version in versions else [version]
    return versions, missing


def _metrics(lines) -> list[str]:
    """Of all evaluations, those that tell right from wrong first."""
    names = {name for line in lines for row in line.values() for name in row.metrics}
    return sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))


def _cells(line: dict[str, Evaluation], columns: Sequence[str], metric: str, against: str) -> list[Cell]:
    values = [line[name].metrics.get(metric) for name in columns if name in line]
    best, reference = _best(metric, values), line.get(against)
    cells = []
    for name in columns:
        row = line.get(name)
        value = row.metrics.get(metric) if row else None
        if row is None or value is None:
            cells.append(Cell())
            continue
        change = _change(row, reference, metric) if reference and name != against else None
        cells.append(Cell(value, row.rows, best is not None and value == best, change))
    return cells


def _change(row: Evaluation, reference: Evaluation, metric: str) -> Interval | float | None:
    """The difference of two evaluations: paired where both saw the same rows; no bounds where no row was judged."""
    one, other = row.metrics.get(metric), reference.metrics.get(metric)
    if one is None or other is None:
        return None
    if not row.hits.get(metric) or not reference.hits.get(metric):
        return one - other
    return less(row, reference, metric)


def _means(lines: Sequence[Line], count: int, metric: str) -> list[Cell]:
    """The mean over all tasks of each column that was measured on all of them; nothing for a single task."""
    if len(lines) < 2:
        return []
    whole = [[line.cells[column] for line in lines] for column in range(count)]
    values = [
        sum(cell.value for cell in cells) / len(cells) if all(cell.value is not None for cell in cells) else None
        for cells in whole
    ]
    best = _best(metric, values)
    return [_mean(cells, value, best) for cells, value in zip(whole, values, strict=True)]


def _mean(cells: Sequence[Cell], value: float | None, best: float | None) -> Cell:
    if value is None:
        measured = sum(cell.value is not None for cell in cells)
        return Cell(note=f"measured on {measured} of {len(cells)}")
    bounds = [cell.interval for cell in cells if cell.interval]
    changes = [cell.change for cell in cells if isinstance(cell.change, int | float)]
    change = None
    if len(bounds) == len(cells):
        change = mean_of(bounds)
    elif len(changes) == len(cells):
        change = sum(changes) / len(changes)
    return Cell(value, None, best is not None and value == best, change)


def _best(metric: str, values: Sequence[object]) -> float | None:
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) < 2:
        return None
    return min(numbers) if metric.startswith(LOWER_IS_BETTER) else max(numbers)
