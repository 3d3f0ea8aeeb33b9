"""What the demo's table looks like, and the sentences that read it."""

from collections.abc import Mapping, Sequence
from typing import Any

Table = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Task → column → {"value": exact match, …}."""
SINGLE = ("base", "own adapter")
"""The columns that are no merge."""
CLEAR = 0.05
"""Merges closer than this are called level: two shares of a few hundred rows differ by less through chance alone."""


def means(table: Table, columns: Sequence[str]) -> dict[str, float]:
    """Each column's mean over the tasks."""
    return {column: sum(cells[column]["value"] for cells in table.values()) / len(table) for column in columns}


def drawn(table: Table, columns: Sequence[str], title: str) -> str:
    """The table as text, with the mean over the tasks in its last line."""
    width = max(len(task) for task in [*table, "mean"])
    head = "  ".join([f"{'task':{width}}", *columns])
    lines = [title, head, "-" * len(head)]
    rows = {task: {column: cells[column]["value"] for column in columns} for task, cells in table.items()}
    for task, values in {**rows, "mean": means(table, columns)}.items():
        lines.append("  ".join([f"{task:{width}}", *(f"{values[column]:{len(column)}.2f}" for column in columns)]))
    return "\n".join(lines)


def reading(table: Table, columns: Sequence[str], ranks: Mapping[str, int], reads_text: Sequence[str]) -> str:
    """One or two sentences: what the best merge keeps of the own adapters' mean, and what the others do.

    `ranks` is each merge's rank, `reads_text` names the columns that were made with the help of the tasks' texts.
    """
    found = means(table, columns)
    own, merges = found["own adapter"], [column for column in columns if column not in SINGLE]
    if own <= 0:
        return "No own adapter is ever right here, so that no merge can be judged by it."
    best = max(merges, key=found.__getitem__)
    told = f"{best} keeps {found[best] / own:.0%} of what the own adapters reach ({found[best]:.2f} of {own:.2f})"
    told += f" in one adapter of rank {ranks[best]}, in place of {len(table)} adapters"
    told += ", with the help of a few training rows of each task." if best in reads_text else ", and reads no text."
    blind = [column for column in merges if column not in reads_text and column != best]
    if not blind:
        return told
    second = max(blind, key=found.__getitem__)
    level = [c for c in blind if found[second] - found[c] < CLEAR and c != second]
    others = f" {second} keeps {found[second] / own:.0%}"
    if best in reads_text:
        others = f" The best that reads no text is {second}, with {found[second] / own:.0%}"
    if level:
        others += f"; level with it, within chance: {', '.join(f'{c} ({found[c] / own:.0%})' for c in level)}"
    return f"{told}{others}."
