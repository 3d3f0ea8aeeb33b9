"""Merges that PEFT gets silently wrong: ours are right or refused, and the table in the docs is what is measured."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCH = runpy.run_path(str(ROOT / "bench/peft_merges.py"))


@pytest.fixture(scope="module")
def rows():
    return BENCH["table"]()


def test_every_result_is_the_true_sum_or_refused_with_a_code(rows):
    for row in rows:
        ours = row["ours"]
        assert (ours < 1e-5) if isinstance(ours, float) else ours.startswith("refused: adapter."), row


def test_the_docs_show_the_table_as_it_is_measured(rows):
    assert BENCH["markdown"](rows) in (ROOT / "docs/merging.md").read_text()
