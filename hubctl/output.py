"""What the user sees: results on stdout (a table, or JSON with `--json`), progress and errors on stderr."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hubctl.errors import HubctlError

OFFENDERS = 5
SHOWN_FACTS = {"offenders": OFFENDERS, "problems": 50, "errors": OFFENDERS}


def emit(data: Any, as_json: bool, text: str = "") -> None:
    """The result of a command: `data` as JSON, or the sentence."""
    if as_json:
        print(json.dumps(data, indent=2, ensure_ascii=False))
    elif text:
        print(text)


def table(rows: Sequence[Sequence[Any]], headings: Sequence[str], empty: str) -> None:
    """Aligned columns; plain, one row a line, where the output is no terminal, so that it can be cut and sorted."""
    if not rows:
        print(empty, file=sys.stderr)
        return
    cells = [[str(heading) for heading in headings], *[["" if c is None else str(c) for c in row] for row in rows]]
    if not sys.stdout.isatty():
        widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
        for row in cells:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        grid.add_column(heading, overflow="fold")
    for row in cells[1:]:
        grid.add_row(*row)
    Console(markup=False, highlight=False).print(grid)


def describe(pairs: Sequence[tuple[str, Any]]) -> str:
    """`name  value` lines; empty values are left out."""
    shown = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in shown)


def report_error(error: HubctlError, as_json: bool) -> None:
    """The refusal on stderr: `hubctl: code: message`, then the offenders if the hub named some."""
    if as_json:
        print(json.dumps(error.to_dict(), indent=2, ensure_ascii=False, default=str), file=sys.stderr)
        return
    stated = f"{error.code}: " if error.code and not error.code.isdigit() else ""
    print(f"hubctl: {stated}{error.message}", file=sys.stderr)
    for name, shown in SHOWN_FACTS.items():
        lines = list(offences(error.facts.get(name)))
        for line in lines[:shown]:
            print(f"  {line}", file=sys.stderr)
        if name == "problems" and len(lines) > shown:
            print(f"  and {len(lines) - shown} more", file=sys.stderr)
    if page := error.facts.get("page"):
        print(f"  in a browser: {page}", file=sys.stderr)


def offences(found: Any) -> Iterator[str]:
    """One line for each thing the hub named: a string, an object of facts, or {field: messages}."""
    if isinstance(found, dict):
        for field, said in found.items():
            yield f"{field}: {' '.join(map(str, said)) if isinstance(said, list) else said}"
    elif isinstance(found, list):
        for item in found:
            if isinstance(item, dict):
                said = item.get("message") or item.get("reason")
                yield str(said) if said else ", ".join(f"{key} {value}" for key, value in item.items())
            else:
                yield str(item)


def size(count: int | float | None) -> str:
    """Bytes for people: 1.4 MB."""
    value = float(count or 0)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


@contextmanager
def transfer_bars(quiet: bool) -> Iterator[Any]:
    """A `moved(what, done, total)` that draws one bar a file on stderr, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = [TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def moved(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, visible=not (what.startswith("hash ") and done >= total))

        yield moved


@contextmanager
def job_bar(quiet: bool) -> Iterator[Any]:
    """A `watch(job)`: a bar on a terminal, else a line at each change of state or message, on stderr."""
    if quiet:
        yield lambda job: None
        return
    if not sys.stderr.isatty():
        last: list[Any] = [None]

        def say(job: dict[str, Any]) -> None:
            said = (job["state"], job.get("message"))
            if said != last[0]:
                print(f"job {job['id']}: {' · '.join(word for word in said if word)}", file=sys.stderr, flush=True)
                last[0] = said

        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = [TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("waiting", total=1.0)

        def draw(job: dict[str, Any]) -> None:
            waiting = job.get("waiting_for")
            message = f"waiting for {waiting}" if waiting and job["state"] == "queued" else job.get("message") or ""
            done = 1.0 if job["state"] == "done" else job.get("progress") or 0.0
            progress.update(task, completed=done, description=f"job {job['id']} {job['state']} {message}"[:80].strip())

        yield draw
