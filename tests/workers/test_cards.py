"""Cards don't depend on the clock: the same job makes the same bytes."""

from workers.cards import _figures


def test_figures_that_differ_from_run_to_run_are_left_to_the_report():
    once = _figures({"summary": {"kept": 24, "seconds": 3.21, "tokens_per_second": 9.5}})
    again = _figures({"summary": {"kept": 24, "seconds": 4.02, "tokens_per_second": 7.1}})
    assert once == again
    assert "| kept | 24 |" in once
