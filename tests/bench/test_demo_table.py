"""The sentences under the demo's table say what the table says."""

import pytest

from examples.demo_table import drawn, reading

RANKS = {"RegMean": 16, "LEGO": 8, "exact SVD": 8, "concatenation": 17}


def a_table(**values: list[float]) -> dict:
    return {f"t{n}": {name: {"value": row[n]} for name, row in values.items()} for n in range(2)}


COLUMNS = {"base": [0.0, 0.0], "own adapter": [1.0, 0.8]}


def test_a_merge_that_read_text_wins():
    table = a_table(**COLUMNS, RegMean=[0.9, 0.72], LEGO=[0.5, 0.4], **{"exact SVD": [0.52, 0.42]})
    told = reading(table, list(table["t0"]), RANKS, ["RegMean"])
    assert told == (
        "RegMean keeps 90% of what the own adapters reach (0.81 of 0.90) in one adapter of rank 16, in place of 2 "
        "adapters, with the help of a few training rows of each task. The best that reads no text is exact SVD, with "
        "52%; level with it, within chance: LEGO (50%)."
    )


def test_a_merge_without_text_wins():
    table = a_table(**COLUMNS, RegMean=[0.2, 0.2], LEGO=[0.9, 0.9], concatenation=[0.1, 0.1])
    told = reading(table, list(table["t0"]), RANKS, ["RegMean"])
    assert told.startswith("LEGO keeps 100% of") and "rank 8" in told and "reads no text" in told
    assert told.endswith(" concatenation keeps 11%.")


def test_own_adapters_that_learned_nothing_judge_nobody():
    table = a_table(base=[0.0, 0.0], LEGO=[0.1, 0.0], **{"own adapter": [0.0, 0.0]})
    assert "No own adapter is ever right" in reading(table, ["base", "own adapter", "LEGO"], RANKS, [])


def test_the_drawn_table_has_every_figure_and_the_mean():
    table = a_table(**COLUMNS, LEGO=[0.25, 0.5])
    lines = drawn(table, ["base", "own adapter", "LEGO"], "Exact match").splitlines()
    assert lines[0] == "Exact match" and lines[1].split() == ["task", "base", "own", "adapter", "LEGO"]
    assert [line.split()[1:] for line in lines[3:]] == [
        ["0.00", "1.00", "0.25"],
        ["0.00", "0.80", "0.50"],
        ["0.00", "0.90", "0.38"],
    ]
    assert float(lines[-1].split()[3]) == pytest.approx(0.375, abs=0.01)
